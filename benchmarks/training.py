"""Steps per second of the training loop with recording, compared with a bare PyTorch loop and transformers' Trainer.

The loop and the bare loop take steps in turn, on two copies of one model, the same batches and the same optimizer.
The Trainer cannot be stepped from outside, so its rounds of steps alternate with rounds of ours, each in a separate
process (our session changes an allocator setting of the process, which would otherwise affect both); the first steps of
a round are left out. Seconds differ from machine to machine, ratios less.
"""

import copy
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from benchmarks.ratios import asked, ratio_with_interval
from ontogeny.core.passages import Passage
from ontogeny.core.recipe_file import validate
from ontogeny.data.bos import Bos
from ontogeny.data.collate import collate
from ontogeny.models.build import LoadContext, build_model
from ontogeny.store.writer import RunWriter
from ontogeny.train.loop import training_steps
from ontogeny.train.session import Session, open_session
from ontogeny.train.training import Training, silent

_VOCABULARY = 2048
_LENGTH = 128
_BATCH = 8
_STEPS = 120
_ROUNDS = 8
_ROUND_STEPS = 40
_WARM_STEPS = 5


class _Tokenizer:
    """All that a model from scratch asks of its tokenizer."""

    bos_token_id = eos_token_id = pad_token_id = 0

    def __len__(self) -> int:
        return _VOCABULARY


def _passages() -> list[Passage]:
    generator = np.random.default_rng(0)
    return [
        Passage(
            text="",
            token_ids=generator.integers(1, _VOCABULARY, _LENGTH).astype(np.int32),
            byte_offsets=np.zeros(_LENGTH + 1, dtype=np.int32),
            source=f"random:{i}",
            supervised=np.ones(_LENGTH, dtype=bool),
        )
        for i in range(400)
    ]


def _recipe(steps: int) -> Any:
    tree = {
        "name": "bench",
        "data": {"corpora": {"prose": "python_prose"}, "train": [{"of": "prose/train"}], "length": _LENGTH},
        "model": {"kind": "ladder", "size": "micro"},
        "train": {"steps": steps, "batch": _BATCH, "lr": 0.001},
        "checkpoints": {"steps": [0]},
    }
    return validate(tree, "benchmark")


def _session(steps: int) -> Session:
    recipe = _recipe(steps)
    model = build_model(recipe, LoadContext(tokenizer=_Tokenizer(), length=_LENGTH, seed=0))
    return open_session(recipe, model=model, tokenizer=_Tokenizer(), examples=_passages())


class _Bare:
    """What one would write by hand: forward, loss, backward, clip, step; the loss is read at every step."""

    def __init__(self, session: Session) -> None:
        self.model = copy.deepcopy(session.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=0.001, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        self.session, self.at = session, 0
        self.model.train()

    def step(self) -> float:
        examples = [self.session.examples[int(i)] for i in self.session.plan.batch_at(self.at)]
        ids = collate(examples, 0)["input_ids"]
        logits = self.model(input_ids=ids, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.at += 1
        return float(loss.detach())


def beside_bare_loop() -> dict[str, Any]:
    """Step by step in turn: seconds of our step with recording, and of the bare step."""
    session = _session(_STEPS + _WARM_STEPS)
    bare = _Bare(session)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder, _writer(Path(folder) / "run") as writer:
        training = Training(_recipe(_STEPS + _WARM_STEPS), session, writer, _Nothing(), silent)
        steps = training_steps(session)
        for i in range(_STEPS + _WARM_STEPS):
            pair = [lambda: training.record(next(steps)), bare.step]
            order = (0, 1) if i % 2 == 0 else (1, 0)
            taken = [0.0, 0.0]
            for which in order:
                started = time.perf_counter()
                pair[which]()
                taken[which] = time.perf_counter() - started
            if i >= _WARM_STEPS:
                ours.append(taken[0])
                theirs.append(taken[1])
    return ratio_with_interval(theirs, ours) | {
        "ours_ms": 1000 * float(np.median(ours)),
        "bare_ms": 1000 * float(np.median(theirs)),
    }


class _Nothing:
    """No probe sets: only the training is recorded."""

    probes: ClassVar[dict[str, Any]] = {}
    tokenizer = None
    bos = Bos()


def _writer(path: Path) -> RunWriter:
    return RunWriter.create(path, recipe_yaml="", recipe={}, provenance={})


def _ours_round(folder: Path) -> float:
    session = _session(_ROUND_STEPS + _WARM_STEPS)
    with _writer(folder) as writer:
        training = Training(_recipe(_ROUND_STEPS + _WARM_STEPS), session, writer, _Nothing(), silent)
        steps = training_steps(session)
        for _ in range(_WARM_STEPS):
            training.record(next(steps))
        started = time.perf_counter()
        for event in steps:
            training.record(event)
        return (time.perf_counter() - started) / _ROUND_STEPS


def _trainer_round(folder: Path) -> float:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    recipe = _recipe(_ROUND_STEPS)
    model = build_model(recipe, LoadContext(tokenizer=_Tokenizer(), length=_LENGTH, seed=0))
    mask = [1] * _LENGTH
    ids = [example.token_ids.tolist() for example in _passages()]
    rows = [{"input_ids": i, "labels": i, "attention_mask": mask} for i in ids]
    marks: dict[int, float] = {}

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            marks[state.global_step] = time.perf_counter()

    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=_ROUND_STEPS + _WARM_STEPS,
        per_device_train_batch_size=_BATCH,
        report_to=[],
        logging_steps=10,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=0.001,
        use_cpu=True,
    )
    Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[Clock()]).train()
    return (marks[_ROUND_STEPS + _WARM_STEPS] - marks[_WARM_STEPS]) / _ROUND_STEPS


def beside_trainer() -> dict[str, Any]:
    """Rounds in turn, each in a process of its own: seconds per step of ours with recording, and of the Trainer."""
    seconds: dict[str, list[float]] = {"ours": [], "trainer": []}
    for i in range(_ROUNDS):
        for side in ("ours", "trainer") if i % 2 == 0 else ("trainer", "ours"):
            command = [sys.executable, "-m", "benchmarks.training", side]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds[side].append(float(result.stdout.splitlines()[-1]))
    return ratio_with_interval(seconds["trainer"], seconds["ours"]) | {
        "ours_ms": 1000 * float(np.median(seconds["ours"])),
        "trainer_ms": 1000 * float(np.median(seconds["trainer"])),
    }


def main() -> dict[str, Any]:
    """Run both comparisons."""
    return {
        "training: steps/s with recording, by a bare PyTorch loop": asked(beside_bare_loop(), at_least=0.96),
        "training: steps/s with recording, by Hugging Face Trainer": asked(beside_trainer(), at_least=1.05),
    }


def _one_round(side: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return {"ours": _ours_round, "trainer": _trainer_round}[side](Path(folder) / "run")


if __name__ == "__main__":
    if sys.argv[1:]:
        print(_one_round(sys.argv[1]))
    else:
        for name, figures in main().items():
            print(name, {key: round(value, 3) for key, value in figures.items()})
