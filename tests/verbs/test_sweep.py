"""`ontogeny sweep`: a grid of runs, resumable, on one page."""

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.train.conftest import write_text
from tests.verbs.conftest import Call
from tests.verbs.test_analyze import RECIPE


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    write_text(tmp_path / "words")
    path = tmp_path / "tiny.yaml"
    text = RECIPE.format(texts=tmp_path / "words" / "*.txt")
    text = text.replace("{kind: compression, k: 5}, reproduction, {kind: ledger, share: 1.0}", "token_nll")
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_with_seeds(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    arguments = ["sweep", recipe, "--vary", "train.lr=0.001,0.02", "--seeds", 2, "--runs", runs, "--json"]
    called = ontogeny(*arguments)
    assert called.code == 0, called.err
    found = called.json()
    table = pd.read_csv(found["table"])
    assert found["runs"] == len(table) == len(list(runs.glob("tiny-*/provenance.json"))) == 4
    assert sorted(table["train.lr"].unique()) == [0.001, 0.02]
    assert table.groupby("train.lr")["nll train"].mean().is_monotonic_decreasing  # a higher rate learns more in 8 steps
    assert Path(found["page"]).exists()
    assert any("train.lr: 0.02 against 0.001: -" in line for line in found["effects"])
    assert any("fewer than 5 seeds: no claim" in line for line in found["effects"])
    before = {path: path.stat().st_mtime for path in runs.glob("tiny-*/checkpoints/*/MANIFEST.json")}
    again = ontogeny(*arguments)
    assert again.code == 0
    assert {path: path.stat().st_mtime for path in runs.glob("tiny-*/checkpoints/*/MANIFEST.json")} == before


def test_one_run_that_fails_does_not_stop_the_others(ontogeny: Call, recipe: Path, tmp_path: Path) -> None:
    called = ontogeny("sweep", recipe, "--vary", "train.lr=0.001,1e30", "--seeds", 1, "--runs", tmp_path / "runs")
    assert called.code == 3
    assert "1 of 2 runs failed, the first with: step" in called.err
    (folder,) = (tmp_path / "runs").glob("tiny-sweep-*")
    points = json.loads((folder / "sweep.json").read_text())["points"]
    assert [point["error"] is None for point in points] == [True, False]
    assert (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (["train.lr"], "--vary train.lr: write KEY=VALUE,VALUE"),
        (["train.lr=1,"], "write KEY=VALUE,VALUE"),
        (["train.seed=1,2"], "--vary train.seed: say --seeds N"),
        (["train.lr=0.1,0.2", "train.lr=0.1"], "it is varied twice"),
        (["train.lr=0.1,0.1"], "two points of the sweep are the same run"),
        (["train.lrr=0.1,0.2"], "train.lrr"),
    ],
)
def test_wrong_use_is_one_line(ontogeny: Call, recipe: Path, tmp_path: Path, vary: list[str], said: str) -> None:
    called = ontogeny("sweep", recipe, *(part for one in vary for part in ("--vary", one)), "--runs", tmp_path / "runs")
    assert called.code == 2
    assert said in called.err
    assert called.err.count("\n") == 1
