"""Small recipes and the comparison of whole run directories, bit for bit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.store.run import Run, open_run

WORDS = [
    "the",
    "model",
    "reads",
    "a",
    "line",
    "of",
    "text",
    "and",
    "learns",
    "how",
    "often",
    "each",
    "word",
    "follows",
    "another",
    "while",
    "its",
    "loss",
    "falls",
    "slowly",
    "seven",
    "green",
    "birds",
    "fly",
    "over",
    "cold",
    "water",
    "before",
    "noon",
    "every",
    "teacher",
    "counts",
    "small",
    "red",
    "stones",
    "near",
    "an",
    "old",
    "bridge",
]


def write_text(path: Path, *, documents: int = 24, words: int = 60, seed: int = 0) -> Path:
    """A folder of short documents of random words."""
    generator = np.random.default_rng(seed)
    path.mkdir(exist_ok=True)
    for i in range(documents):
        (path / f"{i:03}.txt").write_text(" ".join(generator.choice(WORDS, words)) + ".\n", encoding="utf-8")
    return path


def tree(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe of a few seconds: dropout, accumulation, a partial last batch, all kinds of looks."""
    recipe: dict[str, Any] = {
        "name": "small",
        "data": {
            "corpora": {"words": {"kind": "text", "path": str(folder / "*.txt")}},
            "splits": {"train": 0.7, "novel": 0.3},
            "length": 24,
            "min_length": 8,
            "train": [{"of": "words/train", "count": 22}],
            "probes": {"train": {"of": "words/train", "count": 6}, "novel": {"of": "words/novel", "count": 6}},
            "allow_overlap": True,
        },
        "tokenizer": {"vocab_size": 300},
        "model": {"kind": "ladder", "size": "pico"},
        "train": {
            "epochs": 3,
            "batch": 6,
            "accumulate": 3,
            "dropout": 0.1,
            "lr": {"shape": "cosine", "value": 0.003, "warmup": 0.2},
        },
        "checkpoints": {"every_steps": 4},
        "measures": ["evaluation", "token_nll", "weight_drift", {"kind": "gradient_norms", "at": {"every_steps": 3}}],
    }
    return recipe | changes


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Forked children must not inherit a pool of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("texts") / "words")


@pytest.fixture
def recipe(texts: Path) -> Recipe:
    return validate(tree(texts), "test")


def differences(left: Path, right: Path) -> list[str]:
    """Everything that two runs do not have in common, bit for bit; times apart."""
    a, b = open_run(left), open_run(right)
    found = _metrics(a, b) + _arrays(a, b) + _checkpoints(a, b)
    if not a.samples.equals(b.samples):
        found.append("samples differ")
    return found


def _metrics(a: Run, b: Run) -> list[str]:
    rows = []
    for run in (a, b):
        kept = run.metrics[run.metrics["scope"] != "timing"].drop(columns="time_unix_s").reset_index(drop=True)
        rows.append(kept.astype({"name": str, "scope": str}))
    if len(rows[0]) != len(rows[1]):
        return [f"{len(rows[0])} and {len(rows[1])} metrics rows"]
    same = np.array_equal(rows[0]["value"].to_numpy().view(np.int64), rows[1]["value"].to_numpy().view(np.int64))
    keys = ["step", "name", "scope"]
    return [] if same and rows[0][keys].equals(rows[1][keys]) else ["metrics differ"]


def _arrays(a: Run, b: Run) -> list[str]:
    if list(a.measures) != list(b.measures):
        return [f"measures {a.measures} and {b.measures}"]
    found = []
    for group in a.measures:
        left, right = a.measure(group).load(), b.measure(group).load()
        if not left.identical(right):
            found.append(f"measure {group} differs")
    return found


def _checkpoints(a: Run, b: Run) -> list[str]:
    if [c.step for c in a.checkpoints] != [c.step for c in b.checkpoints]:
        return [f"checkpoints {[c.step for c in a.checkpoints]} and {[c.step for c in b.checkpoints]}"]
    found = []
    for left, right in zip(a.checkpoints, b.checkpoints, strict=True):
        hashes = [json.dumps(c.manifest["files"], sort_keys=True) for c in (left, right)]
        if hashes[0] != hashes[1]:
            found.append(f"checkpoint {left.step} differs")
    return found


def interrupt_and_resume(recipe: Recipe, folder: Path, at_step: int, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a recipe, stop it before that step is recorded, and continue it to its end."""
    from ontogeny.runs.execute import execute, resume
    from ontogeny.train.training import Training

    record = Training.record

    def stop(self: Training, event: Any) -> None:
        if event.step == at_step:
            raise KeyboardInterrupt
        record(self, event)

    monkeypatch.setattr(Training, "record", stop)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, runs_dir=folder)
    monkeypatch.setattr(Training, "record", record)
    return open_run(resume(next(folder.iterdir())))
