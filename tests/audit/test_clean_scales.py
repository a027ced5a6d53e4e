"""Trainings with nothing wrong whose losses are scaled, summed or counted in a way of their own raise nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ontogeny.integrations.audit.session import Audit
from tests.audit.families import make
from tests.audit.loops import rows
from tests.audit.test_clean import STEPPING, STEPS, TARGETS, of_rows, silent, train

pytestmark = pytest.mark.slow


def test_two_forward_passes_of_one_backward_pass() -> None:
    """Two batches, each with a mean of its own: their sum is meant, and no accumulation."""

    def loss(model: Any, number: int) -> torch.Tensor:
        return of_rows(model, number) + of_rows(model, number + 1000)

    silent(train(make("gpt2"), loss), *STEPPING, "backwards_per_step")
    silent(
        train(make("gpt2"), lambda model, number: loss(model, number) / 2, accumulation=2),
        *STEPPING,
        "accumulation_normalised",
        "backwards_per_step",
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_gradient_scaler(dtype: torch.dtype, accumulation: int) -> None:
    model = make("llama")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    watched = Audit(model, optimizer, quiet=True).watch(accumulation=accumulation, max_grad_norm=1.0)
    with watched as audit:
        for number in range(STEPS * accumulation):
            with torch.autocast("cpu", dtype):
                loss = of_rows(model, number - number % accumulation)
            scaler.scale(loss / accumulation).backward()
            if (number + 1) % accumulation == 0:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
    silent(audit, *STEPPING, *TARGETS, "accumulation_normalised" if accumulation > 1 else "loss_scale")


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["first_token_labelled", "first_token_masked"])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_a_stock_trainer(tmp_path: Path, accumulation: int, *, first: bool) -> None:
    """It counts the labels of a `GPT2LMHeadModel` before they are shifted, so that its mean is a little too small."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    from ontogeny.integrations.hf_trainer import OntogenyCallback

    def row(number: int) -> dict[str, list[int]]:
        ids = [*torch.randint(2, 60, (31,), generator=torch.Generator().manual_seed(number)).tolist(), 1]
        return {"input_ids": ids, "attention_mask": [1] * 32, "labels": ids if first else [-100, *ids[1:]]}

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=60,
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=64,
            bos_token_id=1,
            eos_token_id=1,
            pad_token_id=0,
        )
    )
    look = OntogenyCallback(to=tmp_path / "run", measures=[], audit={"quiet": True})
    arguments = TrainingArguments(
        str(tmp_path / "out"),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        max_steps=12,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(model=model, args=arguments, train_dataset=[row(n) for n in range(64)], callbacks=[look]).train()
    assert look.audit is not None
    silent(look.audit, *STEPPING, *TARGETS, "loss_is_the_mean")


def test_a_masked_language_model() -> None:
    from transformers import RobertaConfig, RobertaForMaskedLM

    torch.manual_seed(0)
    model = RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=60,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=2,
        )
    )

    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(4, number)
        random = torch.Generator().manual_seed(number)
        hidden = (torch.rand(4, 20, generator=random) < 0.3) & (batch["input_ids"] > 2)
        labels = torch.where(hidden, batch["input_ids"], -100)
        return model(torch.where(hidden, 59, batch["input_ids"]), batch["attention_mask"], labels=labels).loss

    silent(train(model, loss), *STEPPING)


def test_a_tagger() -> None:
    from transformers import GPT2Config, GPT2ForTokenClassification

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1, pad_token_id=0
    )
    config.num_labels = 9
    model = GPT2ForTokenClassification(config)

    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(4, number)
        rare = torch.rand(4, 20, generator=torch.Generator().manual_seed(number)) < 0.02
        labels = torch.where(batch["attention_mask"] > 0, torch.where(rare, batch["input_ids"] % 8 + 1, 0), -100)
        return model(batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss

    silent(train(model, loss), *STEPPING)


def test_two_players_whose_gradients_the_other_leaves_behind() -> None:
    """Each clears its own gradients before its own turn; the other's backward pass adds to them before that."""
    generator, judge = torch.nn.Linear(8, 8), torch.nn.Linear(8, 1)
    both = torch.nn.ModuleDict({"generator": generator, "judge": judge})
    first, second = (torch.optim.Adam(one.parameters(), lr=1e-3) for one in (judge, generator))
    for watched, optimizers in ((judge, [first]), (both, [first, second])):
        with Audit(watched, optimizers, quiet=True) as audit:
            for _ in range(STEPS):
                noise = torch.randn(4, 8)
                first.zero_grad()
                (judge(generator(noise).detach()).square().mean() - judge(noise).mean()).backward()
                first.step()
                second.zero_grad()
                (-judge(generator(noise)).mean()).backward()
                second.step()
        silent(audit)
