"""In other people's loops: the training is theirs to the bit, the run directory is like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Trainer, TrainingArguments

import ontogeny
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.recipe_file import validate_component
from ontogeny.data.tokenizer import train_tokenizer
from ontogeny.integrations.foreign_texts import probe_set
from ontogeny.integrations.hf_trainer import OntogenyCallback
from ontogeny.runs.backfill import backfill

TEXTS = [f"line {i}: the cat number {i * 7 % 13} sat on mat {i % 5} and said hello" for i in range(40)]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_tokenizer(TEXTS, 300)


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self.rows = [tokenizer(text)["input_ids"][:16] for text in texts]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        return {"input_ids": self.rows[i], "labels": self.rows[i], "attention_mask": [1] * len(self.rows[i])}


def make_trainer(tokenizer: Any, folder: Path, callbacks: list[Any], steps: int = 8, **extra: Any) -> Trainer:
    from transformers import DataCollatorForSeq2Seq

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        hidden_dropout=0.1,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        logging_steps=2,
        report_to=[],
        save_strategy=extra.pop("save_strategy", "no"),
        disable_tqdm=True,
        use_cpu=True,
        learning_rate=0.01,
        **extra,
    )
    return Trainer(
        model=GPTNeoXForCausalLM(config),
        args=arguments,
        train_dataset=Rows(tokenizer, TEXTS),
        eval_dataset=Rows(tokenizer, TEXTS[:5]),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        callbacks=callbacks,
    )


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.fixture(scope="module")
def recorded(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trainer, OntogenyCallback]:
    folder = tmp_path_factory.mktemp("hf")
    callback = OntogenyCallback(
        measures=["evaluation", "token_nll", "weight_drift", "gradient_norms", "generation"],
        probes={"texts": TEXTS[:6], "rows": Rows(tokenizer, TEXTS[10:14])},
        every_steps=3,
        save_weights=True,
    )
    trainer = make_trainer(tokenizer, folder, [callback], eval_strategy="steps", eval_steps=4)
    trainer.train()
    return folder, trainer, callback


@pytest.mark.slow
def test_training_is_bit_identical_with_and_without(
    recorded: tuple[Path, Trainer, OntogenyCallback], tokenizer: Any, tmp_path: Path
) -> None:
    _, observed, _ = recorded
    bare = make_trainer(tokenizer, tmp_path, [], eval_strategy="steps", eval_steps=4)
    bare.train()
    left, right = weights_of(observed), weights_of(bare)
    assert all(torch.equal(left[name], right[name]) for name in left)
    rows = [
        [{k: v for k, v in row.items() if "runtime" not in k and "per_second" not in k} for row in history]
        for history in (observed.state.log_history, bare.state.log_history)
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_the_comparison_would_notice_a_touched_generator(tokenizer: Any, tmp_path: Path) -> None:
    """Negative control: a callback that draws one random number changes the weights (dropout is on)."""
    from transformers import TrainerCallback

    class Careless(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            torch.rand(1)

    bare, careless = make_trainer(tokenizer, tmp_path, []), make_trainer(tokenizer, tmp_path, [Careless()])
    bare.train()
    careless.train()
    left, right = weights_of(bare), weights_of(careless)
    assert not all(torch.equal(left[name], right[name]) for name in left)


def test_the_run_directory_is_like_any_other(recorded: tuple[Path, Trainer, OntogenyCallback]) -> None:
    folder, trainer, callback = recorded
    assert callback.path == folder / "ontogeny"
    run = ontogeny.open(callback.path)
    assert run.status["state"] == "finished"
    # every third step of eight, and both ends
    assert run.measure("evaluation")["step"].values.tolist() == [0, 3, 6, 8]
    assert set(run.probes) == {"texts", "rows"}
    theirs = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert run.series("loss", "train")["value"].tolist() == theirs
    evaluated = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert run.series("loss", "eval")["value"].tolist() == evaluated
    assert [c.step for c in run.checkpoints] == [0, 3, 6, 8]
    assert run.provenance["optimizer"] == "AdamW"
    assert (callback.path / "report.html").exists()


def test_evaluation_agrees_with_theirs(recorded: tuple[Path, Trainer, OntogenyCallback], tokenizer: Any) -> None:
    """Our NLL of the final model on some rows against the loss of the model itself on the same rows."""
    _, trainer, callback = recorded
    assert callback.path is not None
    total, count = 0.0, 0
    with torch.no_grad():
        for i in range(10, 14):
            ids = torch.tensor([Rows(tokenizer, TEXTS)[i]["input_ids"]])
            total += float(trainer.model.eval()(ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
    last = ontogeny.open(callback.path).series("evaluation/nll", "rows")["value"].iloc[-1]
    assert last == pytest.approx(total / count, rel=1e-5)


def test_measures_can_be_added_later(recorded: tuple[Path, Trainer, OntogenyCallback]) -> None:
    path = recorded[2].path
    assert path is not None
    live = ontogeny.open(path).measure("token_nll").load()
    again = validate_component("ontogeny.measures", {"kind": "token_nll", "name": "again"})
    assert backfill(path, [again]) == [0, 3, 6, 8]
    later = ontogeny.open(path).measure("again").load()
    assert np.array_equal(live["nll_nats"].values, later["nll_nats"].values, equal_nan=True)


def test_probes_default_to_rows_of_the_training_set(tokenizer: Any, tmp_path: Path) -> None:
    callback = OntogenyCallback(measures=["evaluation"], passages=5, page=False)
    make_trainer(tokenizer, tmp_path, [callback], steps=2).train()
    assert callback.path is not None
    run = ontogeny.open(callback.path)
    assert len(run.probes["train"]) == 5
    assert run.measure("evaluation")["step"].values.tolist() == [0, 2]


def test_a_second_run_in_the_same_directory_is_refused(
    recorded: tuple[Path, Trainer, OntogenyCallback], tokenizer: Any
) -> None:
    folder = recorded[0]
    trainer = make_trainer(tokenizer, folder, [OntogenyCallback(measures=[], to=folder / "ontogeny")])
    with pytest.raises(StoreError, match="another directory"):
        trainer.train()


def test_resuming_their_checkpoint_continues_our_run(tokenizer: Any, tmp_path: Path) -> None:
    def callback() -> OntogenyCallback:
        return OntogenyCallback(measures=["evaluation"], probes={"t": TEXTS[:4]}, every_steps=2, page=False)

    make_trainer(tokenizer, tmp_path, [callback()], save_strategy="steps", save_steps=4).train()
    again = callback()
    make_trainer(tokenizer, tmp_path, [again], save_strategy="steps", save_steps=4).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-4")
    )
    assert again.path is not None
    run = ontogeny.open(again.path)
    assert run.measure("evaluation")["step"].values.tolist() == [0, 2, 4, 6, 8]
    assert run.series("loss", "train")["step"].tolist() == [2, 4, 6, 8]


def test_without_a_tokenizer_it_says_what_to_pass(tokenizer: Any, tmp_path: Path) -> None:
    trainer = make_trainer(tokenizer, tmp_path, [OntogenyCallback(measures=["evaluation"])])
    trainer.processing_class = None
    trainer.callback_handler.processing_class = None
    with pytest.raises(OntogenyError, match="processing_class"):
        trainer.train()


def test_rows_keep_what_is_supervised_and_drop_padding(tokenizer: Any) -> None:
    rows = [{"input_ids": [5, 6, 7, 8, 0], "labels": [-100, -100, 7, 8, -100], "attention_mask": [1, 1, 1, 1, 0]}]
    passage = probe_set("p", rows, tokenizer, count=4, length=16).passages[0]
    assert passage.token_ids.tolist() == [5, 6, 7, 8]
    assert passage.supervised.tolist() == [False, False, True, True]
    text = probe_set("p", ["ab cd"], tokenizer, count=4, length=16).passages[0]
    assert text.text == "ab cd"
    assert text.byte_offsets[-1] == 5


@pytest.mark.slow
def test_a_trl_sft_run_is_recorded_and_left_alone(tokenizer: Any, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset

    rows = [{"prompt": text[:12], "completion": text[12:]} for text in TEXTS]
    weights, paths = [], []
    for callbacks in ([], [OntogenyCallback(measures=["evaluation", "token_nll"], every_steps=2)]):
        torch.manual_seed(0)
        config = GPTNeoXConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
        arguments = trl.SFTConfig(
            output_dir=str(tmp_path / str(len(callbacks))),
            max_steps=4,
            per_device_train_batch_size=4,
            report_to=[],
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            max_length=32,
        )
        trainer = trl.SFTTrainer(
            model=GPTNeoXForCausalLM(config),
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            callbacks=callbacks,
        )
        trainer.train()
        weights.append(weights_of(trainer))
        paths += [callback.path for callback in callbacks]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    run = ontogeny.open(paths[0])
    assert run.measure("token_nll")["step"].values.tolist() == [0, 2, 4]
    assert "mean_token_accuracy" in set(run.metrics["name"])
