"""A prediction that is written before a level is run, and compared with its outcome after."""

import json
from pathlib import Path

import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.verbs import sweep as verb
from ontogeny.verbs.sweep import sweep
from ontogeny.verbs.sweep_points import points_of
from ontogeny.verbs.sweep_prediction import outcome_text, predict_held_out
from ontogeny.verbs.sweep_processes import Command
from tests.analyses.across.test_scaling import SIZES, table
from tests.report.hand_made import MakeRun
from tests.small_runs import write_text
from tests.verbs.test_analyze import RECIPE


def test_a_prediction_is_kept_and_judged(tmp_path: Path) -> None:
    whole = table()
    varied = ["base.model.size", "train.lr"]
    others = whole[whole["base.model.size"] != "micro"]
    held = ("base.model.size", "micro")
    predict_held_out(tmp_path, held, SIZES["micro"], 5, others, varied, "novel", already_run=False)
    told = json.loads((tmp_path / "prediction.json").read_text())
    assert (told["held_out"], told["against"]) == ("base.model.size=micro", "parameters")
    assert len(told["from_runs"]) == len(others)
    said = outcome_text(tmp_path, varied, whole)
    assert said.count("inside") == 4
    assert said.count("outside") == 0
    doubled = whole.assign(**{"general increase": 2 * whole["general increase"]})
    assert outcome_text(tmp_path, varied, doubled).count("outside") == 2
    assert outcome_text(tmp_path, varied, others).count("not run") == 4
    # Nothing that was predicted is ever written anew.
    predict_held_out(tmp_path, held, SIZES["micro"], 5, doubled, varied, "novel", already_run=True)
    assert json.loads((tmp_path / "prediction.json").read_text()) == told


def test_what_was_run_before_is_no_prediction(tmp_path: Path) -> None:
    whole = table()
    few = whole[(whole["base.model.size"] != "micro") & (whole["seed"] == 0)]
    predict_held_out(
        tmp_path, ("base.model.size", "micro"), 1e6, 5, few, ["base.model.size"], "novel", already_run=True
    )
    said = outcome_text(tmp_path, ["base.model.size"], whole)
    assert "were there already" in said
    assert "no prediction: needs two seeds" in said


def test_what_cannot_be_held_out(tmp_path: Path) -> None:
    write_text(tmp_path / "words")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(texts=tmp_path / "words" / "*.txt"), encoding="utf-8")
    for vary, hold_out, said in (
        ("train.steps=4,6", "train.steps=9", "no run has that; write one of the levels, such as train.steps=4"),
        ("train.lr=0.1,0.2", "train.lr=0.1", "neither a size, a length nor a share"),
        ("train.steps=4,6", "train.steps=4", "two other levels must be run, 1 is"),
        ("data.train.0.at_most=null,20,30", "data.train.0.at_most=30", "a law is of numbers, not of 20, 30, null"),
        ("data.train.0.at_most=9,20,30", "data.train.0.at_most=31", "no run has that"),
        ("model.size=pico,nano,micro", "model.size=micro", "is not known before it is run; hold out"),
    ):
        points = points_of(str(recipe), [], [vary], 1, tmp_path / "runs")
        with pytest.raises(OntogenyError, match=said):
            sweep(points, runs_dir=tmp_path / "runs", jobs=1, tell=print, hold_out=hold_out)
    assert not (tmp_path / "runs").exists()


def test_held_out_runs_come_last_and_after_their_prediction(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """General text rises by 0.01 x steps, within seeds by a hundredth more or less: 0.4 at 40, as 10 and 20 say."""
    write_text(tmp_path / "words")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE.format(texts=tmp_path / "words" / "*.txt"), encoding="utf-8")
    points = points_of(str(recipe), [], ["train.steps=40,10,20"], 3, tmp_path)
    batches = []

    def run_all(commands: list[Command], *rest: object) -> None:
        batches.append((len(commands), bool(list(tmp_path.glob("*/prediction.json")))))
        for command in commands:
            steps, seed = (int(one.partition("=")[2]) for one in command.arguments[-2:])
            end = 2 + 0.01 * steps * (1 + 0.01 * (seed - 1))
            nll = {
                "train": [[[4.0]], [[3.0]]],
                "novel": [[[4.0]], [[3.0 + 0.01 * seed]]],
                "general": [[[2.0]], [[end]]],
            }
            make_run(nll, command.name, metrics=True, seed=seed)
            rest[-1][command.key] = None  # type: ignore[index]

    monkeypatch.setattr(verb, "run_all", run_all)
    monkeypatch.setattr(verb, "diagnose_and_analyze", lambda paths: None)
    monkeypatch.setattr(verb, "write_report", lambda runs, out: None)
    folder = sweep(points, runs_dir=tmp_path, jobs=1, tell=print, hold_out="train.steps=40")
    assert batches == [(6, False), (3, True)]
    told = json.loads((folder / "prediction.json").read_text())
    assert not told["already_run"]
    assert told["predictions"][0]["value"] == pytest.approx(0.4, rel=1e-3)
    said = (folder / "scaling.txt").read_text()
    assert "general increase, all runs: 0.4 (95%" in said
    assert said.count("inside") == 2
    listed = json.loads((folder / "sweep.json").read_text())["points"]
    assert [point["levels"]["train.steps"] for point in listed[-3:]] == ["40", "40", "40"]
