"""Trainers of Hugging Face and TRL, set up in many right ways: the audit raises nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer, TrainingArguments

from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.integrations.hf_trainer import OntogenyCallback
from tests.audit.families import make, make_t5
from tests.audit.loops import rows
from tests.audit.test_clean import STEPPING, TARGETS, silent

TEXTS = [f"the cat number {i * 7 % 13} sat on mat {i % 5} and said hello to dog {i}" for i in range(48)]
ROWS = [{name: one[0].tolist() for name, one in rows(1, i).items()} for i in range(64)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TEXTS, 300)


def settings(folder: Path, **extra: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 8,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "learning_rate": 1e-3,
        **extra,
    }


def audited(build: Callable[[list[Any]], Trainer], *clear: str) -> None:
    look = OntogenyCallback(measures=[], audit={"quiet": True}, page=False)
    build([look]).train()
    assert look.audit is not None
    silent(look.audit, *clear)


STOCK: dict[str, dict[str, Any]] = {
    "accumulation": {"gradient_accumulation_steps": 3},
    "bf16": {"bf16": True},
    "label_smoothing": {"label_smoothing_factor": 0.1},
    "checkpointing": {"gradient_checkpointing": True},
    "warmup_cosine": {"warmup_steps": 3, "lr_scheduler_type": "cosine"},
    "adafactor": {"optim": "adafactor"},
    "no_clipping": {"max_grad_norm": 0.0},
    "evaluation": {"eval_strategy": "steps", "eval_steps": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STOCK)
def test_trainer(name: str, tmp_path: Path) -> None:
    def build(callbacks: list[Any]) -> Trainer:
        return Trainer(
            model=make("llama"),
            args=TrainingArguments(**settings(tmp_path, **STOCK[name])),
            train_dataset=ROWS,
            eval_dataset=ROWS[:8],
            callbacks=callbacks,
        )

    audited(build, *STEPPING, *TARGETS, "learning_rate_shown", "backwards_per_step")


@pytest.mark.slow
def test_seq2seq_trainer(tmp_path: Path) -> None:
    def build(callbacks: list[Any]) -> Trainer:
        data = [{"input_ids": row["input_ids"], "labels": row["labels"][:14]} for row in ROWS]
        return Seq2SeqTrainer(
            model=make_t5(),
            args=Seq2SeqTrainingArguments(**settings(tmp_path)),
            train_dataset=data,
            callbacks=callbacks,
        )

    audited(build, *STEPPING)


SFT: dict[str, dict[str, Any]] = {
    "completions": {},
    "packed": {"packing": True, "max_length": 64},
    "whole_text": {"completion_only_loss": False},
    "accumulation": {"gradient_accumulation_steps": 2},
    "smoothed": {"label_smoothing_factor": 0.1},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SFT, "lora"])
def test_trl_sft(name: str, tmp_path: Path, tokenizer: Any) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from peft import LoraConfig

    texts = [{"prompt": text[:20], "completion": text[20:]} for text in TEXTS]
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"]) if name == "lora" else None

    def build(callbacks: list[Any]) -> Trainer:
        return trl.SFTTrainer(
            model=model_for(tokenizer, tmp_path),
            args=trl.SFTConfig(**settings(tmp_path, **SFT.get(name, {}))),
            train_dataset=Dataset.from_list(texts),
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=callbacks,
        )

    audited(build, *STEPPING, "supervised_share", "learning_rate_shown")


def model_for(tokenizer: Any, folder: Path) -> Any:
    """From a folder, where a trainer finds its reference model, too."""
    end = tokenizer.eos_token_id
    model = make("llama", vocab_size=len(tokenizer), bos_token_id=end, eos_token_id=end, pad_token_id=end)
    model.save_pretrained(folder / "model")
    return type(model).from_pretrained(folder / "model")


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 4])
def test_trl_grpo(accumulation: int, tmp_path: Path, tokenizer: Any) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    def shortness(completions: list[str], **_: Any) -> list[float]:
        return [-float(len(text)) for text in completions]

    def build(callbacks: list[Any]) -> Trainer:
        config = trl.GRPOConfig(
            **settings(tmp_path, gradient_accumulation_steps=accumulation),
            num_generations=4,
            max_completion_length=8,
            beta=0.02,
        )
        return trl.GRPOTrainer(
            model=model_for(tokenizer, tmp_path),
            reward_funcs=shortness,
            args=config,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list([{"prompt": text[:12]} for text in TEXTS]),
            callbacks=callbacks,
        )

    torch.manual_seed(0)
    audited(build, "no_optimizer_step", "tensors_do_not_move", "backwards_per_step")


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_trl_dpo(accumulation: int, tmp_path: Path, tokenizer: Any) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    pairs = [{"prompt": text[:12], "chosen": text[12:], "rejected": text[:10:-1]} for text in TEXTS]

    def build(callbacks: list[Any]) -> Trainer:
        return trl.DPOTrainer(
            model=model_for(tokenizer, tmp_path),
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(pairs),
            args=trl.DPOConfig(**settings(tmp_path, gradient_accumulation_steps=accumulation)),
            callbacks=callbacks,
        )

    audited(build, "no_optimizer_step", "tensors_do_not_move")
