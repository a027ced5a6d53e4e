"""Trainings that end in the middle: hooks are taken off, and what the audit saw until then is written down."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

import ontogeny
from ontogeny.integrations.hf_trainer import OntogenyCallback
from tests.audit.loops import make_model, rows
from tests.integrations.test_audit import stock


class Interrupts(TrainerCallback):  # type: ignore[misc]
    """As a user does who has seen enough."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 8:
            raise KeyboardInterrupt


class Unshifted:
    """The collator of `stock`, with labels that are one place too early: the model skips a token."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = {name: torch.tensor([one[name] for one in features]) for name in features[0]}
        return {**batch, "labels": torch.roll(batch["labels"], -1, dims=1)}


def rules(path: Path) -> set[str]:
    return {one["rule"] for one in ontogeny.open(path).findings if one["verdict"] == "finding"}


def hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def test_a_trainer_that_is_interrupted(tmp_path: Path) -> None:
    look = OntogenyCallback(measures=[], audit={"quiet": True}, page=False)
    trainer = stock(tmp_path, [look, Interrupts()], data_collator=Unshifted())
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert hooks(trainer.model) > 0  # nobody has told the callback
    look.let_go()  # as at Python's end
    assert hooks(trainer.model) == 0
    assert look.path == tmp_path / "ontogeny"
    run = ontogeny.open(look.path)
    assert run.status["state"] == "interrupted"
    assert rules(look.path) == {"label_shift"}
    look.let_go()  # once is enough
    assert run.status["state"] == "interrupted"


def test_the_next_training_lets_go_of_the_one_before_and_has_a_place_of_its_own(tmp_path: Path) -> None:
    look = OntogenyCallback(measures=[], audit={"quiet": True}, page=False)
    trainer = stock(tmp_path, [look, Interrupts()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    before = hooks(trainer.model)
    trainer.remove_callback(Interrupts)
    trainer.train()
    assert before > 0 == hooks(trainer.model)
    assert look.path == tmp_path / "ontogeny-2"
    states = [ontogeny.open(tmp_path / name).status["state"] for name in ("ontogeny", "ontogeny-2")]
    assert states == ["interrupted", "finished"]
    assert rules(look.path) == set()


def test_a_lightning_training_that_fails(tmp_path: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning")
    from ontogeny.integrations.lightning import OntogenyAudit

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, number: int) -> Any:
            if number == 8:
                raise ValueError("planted")
            return self.net(**{**batch, "labels": torch.roll(batch["labels"], -1, dims=1)}).loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    look, module = OntogenyAudit(quiet=True), Module()
    trainer = lightning.Trainer(
        max_steps=12,
        callbacks=[look],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=tmp_path,
    )
    batches = [rows(4, i, shortest=20) for i in range(12)]
    with pytest.raises(ValueError, match="planted"):
        trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    assert hooks(module) == 0
    assert look.path is not None
    assert rules(look.path) == {"label_shift"}
