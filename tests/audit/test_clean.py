"""Trainings with nothing wrong raise nothing, of whatever family and in whatever form; no architecture is an error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from ontogeny.integrations.audit.session import Audit
from tests.audit.families import FAMILIES, Plain, make, make_t5
from tests.audit.judging import silent
from tests.audit.loops import Loop, rows, shifted_loss

STEPS = 12


STEPPING = ("no_optimizer_step", "tensors_do_not_move", "gradients_outside_the_optimizer", "learning_rate_zero")
TARGETS = ("label_shift", "supervised_share", "initial_loss")


@pytest.mark.parametrize(
    "family",
    [family if i % 3 == 0 else pytest.param(family, marks=pytest.mark.slow) for i, family in enumerate(FAMILIES)],
)
@pytest.mark.parametrize("own_loss", [False, True], ids=["own_loss", "models_loss"])
def test_families(family: str, *, own_loss: bool) -> None:
    loop = Loop(model=make(family), own_loss=own_loss, steps=STEPS)
    silent(loop.run(quietly), *STEPPING, *TARGETS)


def quietly(model: Any, optimizer: Any) -> Audit:
    return Audit(model, optimizer, quiet=True)


def train(
    model: Any,
    loss: Callable[[Any, int], torch.Tensor],
    *,
    optimizer: Any = None,
    accumulation: int = 1,
    after: Callable[[int], Any] = lambda _: None,
    clip: float = 0.0,
    steps: int = STEPS,
    **watched: Any,
) -> Audit:
    """A hand-written loop: `loss` of the model at each micro-batch, `after` each step."""
    torch.manual_seed(0)
    optimizer = optimizer or torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model.train()
    with Audit(model, optimizer, quiet=True).watch(accumulation=accumulation, **watched) as audit:
        for step in range(steps):
            for part in range(accumulation):
                loss(model, step * accumulation + part).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            optimizer.zero_grad()
            after(step)
    return audit


def of_rows(model: Any, number: int) -> torch.Tensor:
    return model(**rows(4, number)).loss


@contextmanager
def bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def test_bf16_autocast() -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        with bf16():
            return of_rows(model, number)

    silent(train(make("llama"), loss), *STEPPING, *TARGETS, "loss_is_the_mean")


def test_weights_in_bf16() -> None:
    optimizer = lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2)  # noqa: E731
    model = make("llama").to(torch.bfloat16)
    silent(train(model, of_rows, optimizer=optimizer(model)), *STEPPING, *TARGETS)


def test_label_smoothing() -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(4, number)
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return F.cross_entropy(
            logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100, label_smoothing=0.1
        )

    silent(train(make("gpt2"), loss), *STEPPING, *TARGETS)


def test_z_loss() -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(4, number)
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return shifted_loss(logits, batch["labels"]) + 1e-4 * logits.logsumexp(-1).square().mean()

    silent(train(make("gpt2"), loss), *STEPPING, *TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_weight_tying(*, tied: bool) -> None:
    silent(train(make("llama", tie_word_embeddings=tied), of_rows), *STEPPING, *TARGETS)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(*, reentrant: bool) -> None:
    model = make("llama")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    model.enable_input_require_grads()
    silent(train(model, of_rows), *STEPPING, *TARGETS, "backwards_per_step")


@pytest.mark.slow
def test_accumulation_over_tokens() -> None:
    """Micro-batches of different lengths, each divided by the tokens of the whole step."""

    def loss(model: Any, number: int) -> torch.Tensor:
        parts = [rows(4, number - number % 4 + part) for part in range(4)]
        count = sum(int((part["labels"][:, 1:] != -100).sum()) for part in parts)
        return model(**parts[number % 4], num_items_in_batch=count).loss

    silent(
        train(make("qwen2"), loss, accumulation=4),
        *STEPPING,
        *TARGETS,
        "accumulation_normalised",
        "loss_is_the_mean",
        "backwards_per_step",
    )


@pytest.mark.slow
def test_clipping_that_is_reached_at_times() -> None:
    silent(train(make("gpt_neox"), of_rows, clip=1.0, max_grad_norm=1.0, steps=115), "clipping")


def test_warmup_from_0_and_decay() -> None:
    model = make("mistral")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min(s / 5, 1.0))
    silent(train(model, of_rows, optimizer=optimizer, after=lambda _: scheduler.step(), scheduler=scheduler), *STEPPING)


def test_frozen_embeddings() -> None:
    model = make("llama", tie_word_embeddings=False)
    model.get_input_embeddings().weight.requires_grad_(False)
    silent(train(model, of_rows), *STEPPING, *TARGETS)


class Lion(torch.optim.Optimizer):
    """Sign of a running mean (Chen et al. 2023)."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    p.sub_(torch.sign(0.9 * mean + 0.1 * p.grad), alpha=group["lr"])
                    mean.mul_(0.99).add_(p.grad, alpha=0.01)


def adafactor(parameters: Any) -> Any:
    from transformers import Adafactor

    return Adafactor(parameters, lr=1e-3, relative_step=False, scale_parameter=False)


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.1, momentum=0.9, weight_decay=0.01),
    "adafactor": adafactor,
    "lion": lambda ps: Lion(ps, lr=1e-4),
    "a_group_each": lambda ps: torch.optim.Adam([{"params": [p]} for p in ps], lr=1e-3),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=1e-3),
}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_optimizers(optimizer: Callable[[Any], Any]) -> None:
    model = make("gpt_neox")
    silent(train(model, of_rows, optimizer=optimizer(list(model.parameters()))), *STEPPING, *TARGETS)


def test_two_optimizers() -> None:
    model = make("llama")
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is one for one in matrices)]
    first, second = torch.optim.SGD(matrices, lr=0.1), torch.optim.AdamW(others, lr=1e-3)
    with Audit(model, [first, second], quiet=True) as audit:
        for number in range(STEPS):
            of_rows(model, number).backward()
            for one in (first, second):
                one.step()
                one.zero_grad()
    silent(audit, *STEPPING)


def test_lora() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(make("llama"), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], lora_dropout=0.1))
    silent(train(model, of_rows), *STEPPING, *TARGETS)


def test_packed_rows_with_positions_of_their_own() -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        ids = rows(4, number, length=20, shortest=20)["input_ids"]
        packed = ids.view(2, 40)
        positions = torch.arange(20).repeat(2)[None].expand(2, 40)
        labels = torch.where(positions > 0, packed, -100)
        # With a cache, which is the default, transformers does not heed positions that begin anew.
        return model(input_ids=packed, position_ids=positions, labels=labels, use_cache=False).loss

    silent(train(make("llama"), loss), *STEPPING, *TARGETS, "packing_leaks")


@pytest.mark.parametrize("left", [True, False], ids=["left_padded", "right_padded"])
def test_completions_only(*, left: bool) -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(4, number)
        batch["labels"][:, :6] = -100
        if left:
            batch = {name: one.flip(1) for name, one in batch.items()}
        return model(**batch).loss

    silent(train(make("qwen2"), loss), *STEPPING, *TARGETS, "padding_supervised")


def test_two_forward_passes_for_one_loss() -> None:
    """R-drop: cross entropy of two passes under different dropout, and their divergence."""

    def loss(model: Any, number: int) -> torch.Tensor:
        one, other = (model(**rows(4, number)) for _ in range(2))
        drift = F.kl_div(one.logits.log_softmax(-1), other.logits.softmax(-1), reduction="batchmean") / 20
        return (one.loss + other.loss) / 2 + drift

    silent(train(make("gpt_neox", hidden_dropout=0.1), loss), *STEPPING, "backwards_per_step")


def test_distillation() -> None:
    teacher = make("llama").eval().requires_grad_(False)

    def loss(model: Any, number: int) -> torch.Tensor:
        batch = rows(4, number)
        output = model(**batch)
        with torch.no_grad():
            target = teacher(batch["input_ids"], batch["attention_mask"]).logits
        valid = batch["labels"][:, 1:] != -100
        kl = F.kl_div(output.logits.log_softmax(-1)[:, :-1][valid], target.softmax(-1)[:, :-1][valid], reduction="none")
        return output.loss + kl.sum() / valid.sum()

    silent(train(make("llama", hidden_size=32), loss), *STEPPING)


def test_looks_between_steps() -> None:
    """Evaluation without gradients and sampled text are nothing of the training."""
    model = make("gpt_neox", hidden_dropout=0.1)

    def look(step: int) -> None:
        model.eval()
        with torch.no_grad():
            of_rows(model, step)
        model.generate(rows(2, step)["input_ids"][:, :8], max_new_tokens=4, do_sample=True, pad_token_id=0)
        model.train()

    silent(train(model, of_rows, after=look), *STEPPING, *TARGETS, "backwards_per_step")


def test_encoder_decoder() -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        # Source and target of one length: the logits have the shape of the source, and do not belong to it.
        return model(input_ids=rows(4, number)["input_ids"], labels=rows(4, number + 100)["labels"]).loss

    silent(train(make_t5(), loss), *STEPPING)


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "flat"])
def test_models_of_no_known_architecture(form: str) -> None:
    def loss(model: Any, number: int) -> torch.Tensor:
        ids = rows(4, number, shortest=20)["input_ids"]
        output = model(ids)
        logits = {"tuple": lambda: output[0], "dict": lambda: output["scores"]}.get(form, lambda: output)()
        return shifted_loss(logits.view(4, 20, -1), ids)

    audit = train(Plain(form), loss)
    silent(audit, *STEPPING, "backwards_per_step", *(TARGETS if form in ("tensor", "tuple") else ()))


def test_a_classifier_is_not_assessable() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))

    def loss(net: Any, number: int) -> torch.Tensor:
        torch.manual_seed(number)
        return F.cross_entropy(net(torch.randn(16, 8)), torch.randint(0, 3, (16,)))

    silent(train(model, loss), *STEPPING)


def test_an_optimizer_that_is_none_of_torchs() -> None:
    """Nothing about steps is assessable; the loop goes on."""
    model = make("gpt2")

    class Own:
        param_groups = [{"params": list(model.parameters()), "lr": 0.1}]  # noqa: RUF012

        def step(self) -> None:
            with torch.no_grad():
                for p in model.parameters():
                    p.sub_(p.grad, alpha=0.1)

        def zero_grad(self) -> None:
            model.zero_grad()

    silent(train(model, of_rows, optimizer=Own()), *TARGETS)
