"""The audit in other people's trainers: silent on clean ones, a planted fault by its name, weights equal to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

import ontogeny
from ontogeny.core.verdicts import Clear, Finding
from ontogeny.integrations.hf_trainer import OntogenyCallback
from tests.audit.families import make
from tests.audit.loops import VOCABULARY, make_model, rows, shifted_loss

ROWS = [{name: one[0].tolist() for name, one in rows(1, i).items()} for i in range(64)]


def arguments(folder: Path, **extra: Any) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "learning_rate": 1e-3,
        **extra,
    }


def stock(folder: Path, callbacks: list[Any], trainer: type[Trainer] = Trainer, **parts: Any) -> Trainer:
    return trainer(
        **{"model": make_model(), "args": TrainingArguments(**arguments(folder)), "train_dataset": ROWS, **parts},
        callbacks=callbacks,
    )


def weights_of(module: Any) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in module.parameters()]


def verdicts(callback: Any) -> tuple[dict[str, Finding], set[str]]:
    """Findings by check, and what was clear; nothing may have gone wrong inside."""
    report = (callback.audit or callback).report if isinstance(callback, OntogenyCallback) else callback.report
    assert report.mishaps == ()
    return {one.rule: one for one in report.findings}, {one.rule for one in report.verdicts if isinstance(one, Clear)}


def assert_silent(callback: Any, *clear: str) -> None:
    """A clean twin: nothing was found, and these checks could judge."""
    found, judged_clear = verdicts(callback)
    assert found == {}
    assert judged_clear >= set(clear)


def only_audit() -> OntogenyCallback:
    return OntogenyCallback(measures=[], audit={"quiet": True}, page=False)


EVERYWHERE = {"no_optimizer_step", "tensors_do_not_move", "backwards_per_step", "label_shift", "supervised_share"}


def test_a_stock_trainer_is_clear_and_left_alone(tmp_path: Path) -> None:
    look = only_audit()
    audited = stock(tmp_path / "a", [look])
    audited.train()
    bare = stock(tmp_path / "b", [])
    bare.train()
    found, clear = verdicts(look)
    assert found == {}
    assert clear >= EVERYWHERE | {"learning_rate_shown", "loss_is_the_mean"}
    assert weights_of(audited.model) == weights_of(bare.model)


def copying_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """It forgets to shift."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


class Copies(Trainer):  # type: ignore[misc]
    """A loss of one's own."""

    loss = staticmethod(copying_loss)

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        return self.loss(model(inputs["input_ids"], inputs["attention_mask"]).logits, inputs["labels"])


class Shifts(Copies):
    loss = staticmethod(shifted_loss)


def test_a_trainer_whose_loss_is_not_shifted(tmp_path: Path) -> None:
    look, clean = only_audit(), only_audit()
    stock(tmp_path / "a", [look], trainer=Copies).train()
    assert "label_shift" in verdicts(look)[0]
    stock(tmp_path / "b", [clean], trainer=Shifts).train()
    assert_silent(clean, "label_shift")


def test_verdicts_stand_in_the_run_and_on_its_page(tmp_path: Path) -> None:
    look = OntogenyCallback(measures=[], audit={"quiet": True})
    stock(tmp_path, [look], trainer=Copies).train()
    assert look.path is not None
    run = ontogeny.open(look.path)
    assert {one["rule"] for one in run.findings if one["verdict"] == "finding"} == {"label_shift"}
    page = (look.path / "report.html").read_text()
    assert "learns to copy the present token" in page
    assert run.series("loss", "train")["value"].size == 12


def test_looks_of_measures_are_not_taken_for_the_training(tmp_path: Path) -> None:
    """`gradient_norms` runs backward passes of its own at every look: none of them is counted."""
    texts = {"input_ids": ROWS[0]["input_ids"]}
    look = OntogenyCallback(
        measures=["evaluation", "gradient_norms"],
        probes={"train": [texts] * 4},
        every_steps=3,
        page=False,
        audit={"quiet": True, "skip": ["no_end_of_text"]},  # the tokenizer below ends texts otherwise than these rows
    )
    tokenizer = small_tokenizer()
    stock(tmp_path, [look], model=model_for(tokenizer), processing_class=tokenizer).train()
    found, clear = verdicts(look)
    assert found == {}
    assert clear >= EVERYWHERE


def small_tokenizer() -> Any:
    from ontogeny.data.tokenizer import train_tokenizer

    return train_tokenizer(["some words"], VOCABULARY + 240)


def model_for(tokenizer: Any) -> Any:
    """With the special ids of the tokenizer."""
    end = tokenizer.eos_token_id
    return make("gpt_neox", vocab_size=len(tokenizer), bos_token_id=end, eos_token_id=end, pad_token_id=end)


def test_what_was_found_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    look = OntogenyCallback(measures=[], audit=True, page=False)
    stock(tmp_path, [look], trainer=Copies).train()
    said = capsys.readouterr().err
    assert "ERROR" in said
    assert "label_shift" in said


def sft(folder: Path, callbacks: list[Any], collator: Any = None, **extra: Any) -> Any:
    from datasets import Dataset

    trl = pytest.importorskip("trl")
    tokenizer = small_tokenizer()
    return trl.SFTTrainer(
        model=model_for(tokenizer),
        args=trl.SFTConfig(**arguments(folder, max_length=32, **extra)),
        train_dataset=Dataset.from_list(completions(tokenizer.eos_token_id)),
        processing_class=tokenizer,
        data_collator=collator,
        callbacks=callbacks,
    )


def completions(end: int) -> list[dict[str, Any]]:
    """Rows of 20 tokens; the first 6 are the prompt, the last is the end."""
    rows_of_ids = (rows(1, i, shortest=20)["input_ids"][0].tolist() for i in range(64))
    return [{"input_ids": [*ids[:-1], end], "completion_mask": [int(j >= 6) for j in range(20)]} for ids in rows_of_ids]


def test_trl_sft_is_clear_and_left_alone(tmp_path: Path) -> None:
    look = only_audit()
    audited = sft(tmp_path / "a", [look], completion_only_loss=True)
    audited.train()
    bare = sft(tmp_path / "b", [], completion_only_loss=True)
    bare.train()
    found, clear = verdicts(look)
    assert found == {}
    assert clear >= EVERYWHERE
    assert share_supervised(look) == pytest.approx(14 / 20)
    assert weights_of(audited.model) == weights_of(bare.model)


def test_trl_sft_that_is_not_told_of_its_prompts(tmp_path: Path) -> None:
    """Without `completion_only_loss` all tokens but the first of a row are targets: 19 of 20."""
    look = only_audit()
    sft(tmp_path, [look]).train()
    assert share_supervised(look) == pytest.approx(19 / 20)


@pytest.mark.slow
def test_trl_sft_with_labels_that_are_shifted_already(tmp_path: Path) -> None:
    def collated(examples: list[dict[str, Any]], *, shifted: bool) -> dict[str, torch.Tensor]:
        ids = torch.tensor([one["input_ids"] for one in examples])
        labels = ids.clone()
        if shifted:
            labels[:, :-1], labels[:, -1] = ids[:, 1:], -100
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    look, clean = only_audit(), only_audit()
    sft(tmp_path / "a", [look], collator=lambda examples: collated(examples, shifted=True)).train()
    found, _ = verdicts(look)
    assert set(found) == {"label_shift"}
    assert "skips a token" in found["label_shift"].statement
    sft(tmp_path / "b", [clean], collator=lambda examples: collated(examples, shifted=False)).train()
    assert_silent(clean, "label_shift")


def share_supervised(look: OntogenyCallback) -> float:
    assert look.audit is not None
    (verdict,) = (one for one in look.audit.report.verdicts if one.rule == "supervised_share")
    assert isinstance(verdict, Clear)
    return float(verdict.numbers["share"])


def lightning_run(folder: Path, callbacks: list[Any], *, head_trained: bool = True, planned: int | None = None) -> Any:
    lightning = pytest.importorskip("pytorch_lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, _: int) -> Any:
            return self.net(**batch).loss

        def configure_optimizers(self) -> Any:
            head = set(self.net.get_output_embeddings().parameters())
            trained = [p for p in self.net.parameters() if head_trained or p not in head]
            optimizer = torch.optim.AdamW(trained, lr=1e-3)
            if planned is None:
                return optimizer
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, planned)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    torch.manual_seed(0)
    module = Module()
    trainer = lightning.Trainer(
        max_steps=12,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=folder,
    )
    batches = [rows(4, i, shortest=20) for i in range(24)]
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return module


def lightning_audit() -> Any:
    pytest.importorskip("pytorch_lightning")
    from ontogeny.integrations.lightning import OntogenyAudit

    return OntogenyAudit(quiet=True)


def test_lightning_is_clear_and_left_alone(tmp_path: Path) -> None:
    look = lightning_audit()
    audited, bare = lightning_run(tmp_path, [look]), lightning_run(tmp_path, [])
    found, clear = verdicts(look)
    assert found == {}
    assert clear >= EVERYWHERE | {"accumulation_normalised", "loss_is_the_mean"}
    assert weights_of(audited) == weights_of(bare)
    # The optimizer calls backward inside its step: gradients are those of the step, not of the one before.
    assert all(0 < step.grad_norm <= 1.0001 for step in look._audit._recorder.seen.steps)
    assert look._audit._recorder.seen.latest("clip_key") == "gradient_clip_val"


def test_lightning_with_a_head_outside_the_optimizer(tmp_path: Path) -> None:
    look, clean = lightning_audit(), lightning_audit()
    lightning_run(tmp_path / "a", [look], head_trained=False)
    found, _ = verdicts(look)
    assert set(found) == {"gradients_outside_the_optimizer", "tensors_do_not_move"}
    assert "net.lm_head.weight" in found["gradients_outside_the_optimizer"].statement
    assert {one["rule"] for one in ontogeny.open(look.path).findings if one["verdict"] == "finding"} == set(found)
    lightning_run(tmp_path / "b", [clean], head_trained=True)
    assert_silent(clean, *found)


def test_lightning_with_a_schedule_for_batches(tmp_path: Path) -> None:
    """24 batches, two to a step, are 12 steps."""
    look, clean = lightning_audit(), lightning_audit()
    lightning_run(tmp_path / "a", [look], planned=24)
    found, _ = verdicts(look)
    assert set(found) == {"scheduler_out_of_step"}
    assert (
        found["scheduler_out_of_step"].numbers["planned"],
        found["scheduler_out_of_step"].numbers["total_steps"],
    ) == (24, 12)
    lightning_run(tmp_path / "b", [clean], planned=12)
    assert_silent(clean, "scheduler_out_of_step")


@pytest.mark.slow
def test_a_trainer_with_a_schedule_for_batches(tmp_path: Path) -> None:
    """12 steps of two batches each are 24 batches."""

    def planned(steps: int, folder: str) -> OntogenyCallback:
        look, model = only_audit(), make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        args = TrainingArguments(**arguments(tmp_path / folder, gradient_accumulation_steps=2))
        stock(tmp_path / folder, [look], model=model, args=args, optimizers=(optimizer, scheduler)).train()
        return look

    found, _ = verdicts(planned(24, "a"))
    assert set(found) == {"scheduler_out_of_step"}
    assert "ends after 12" in found["scheduler_out_of_step"].statement
    assert_silent(planned(12, "b"), "scheduler_out_of_step")


def test_trl_packing_keeps_documents_apart(tmp_path: Path) -> None:
    """A batch of packed documents, run again with another first one: the second one's likelihood is the same."""
    look = only_audit()
    sft(tmp_path, [look], packing=True).train()
    assert "packing_leaks" in verdicts(look)[1]
