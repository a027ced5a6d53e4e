"""Following a target: the decrease that was asked for is what real steps realise."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ontogeny.controls import target_decrease
from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.training import Training
from tests.small_runs import interrupt_and_resume, tree, write_text

CONTROL = {"kind": "target_decrease", "target": 0.002, "new": "novel", "rates": 12, "lowest": 1e-5, "highest": 0.1}


def _content(folder: Path, **control: Any) -> dict[str, Any]:
    content = tree(write_text(folder / "words"), measures=["evaluation"])
    content["train"] = {"epochs": 3, "batch": 8, "lr": 0.5, "dropout": 0.0, "controls": [CONTROL | control]}
    return content


def _series(run: Any, name: str) -> np.ndarray:
    return run.series(f"target_decrease_{name}", "train")["value"].to_numpy()


@pytest.mark.slow
def test_what_is_asked_for_is_realised(tmp_path: Path) -> None:
    """Each step's decrease on the held-out batch, measured before the next step, is the one predicted (to 1e-5), and
    the target within the refinement; the rates are those that the steps had. The scheduled rate is never used.
    """
    run = open_run(execute(validate(_content(tmp_path, refine=8), "test"), runs_dir=tmp_path / "runs"))
    predicted, realised, feasible = (_series(run, name) for name in ("predicted", "realised", "feasible"))
    assert feasible.all()
    assert realised[1:] == pytest.approx(predicted[:-1], abs=1e-5)
    assert predicted == pytest.approx(0.002, rel=0.05)
    assert run.series("learning_rate", "train")["value"].tolist() == _series(run, "rate").tolist()
    assert len(set(_series(run, "rate"))) > 3  # the rate that a decrease needs moves


def test_it_stops_when_the_target_is_out_of_reach(tmp_path: Path) -> None:
    """Half of the loss in a step is not to be had: two infeasible decisions, at states 0 and 1, and the end at 1."""
    path = execute(validate(_content(tmp_path, target=0.5, patience=2), "test"), runs_dir=tmp_path / "runs")
    run = open_run(path)
    assert run.status["state"] == "finished"
    assert run.status["step"] == run.status["total_steps"] == 1
    assert run.provenance["stopped"]["why"] == "target_decrease: a decrease of 50.00% was out of reach 2 times in a row"
    assert [one.step for one in run.checkpoints] == [0, 1]
    assert run.measure("evaluation").step.values.tolist() == [0, 1]
    assert _series(run, "feasible").tolist() == [0, 0]
    assert _series(run, "edge").tolist() == [0, 0]
    assert _series(run, "rate")[0] > 0  # the best there is
    assert execute(validate(_content(tmp_path, target=0.5, patience=2), "test"), runs_dir=tmp_path / "runs") == path


def test_a_target_above_the_highest_rate_is_no_end(tmp_path: Path) -> None:
    """Rates up to 1e-5 lower the loss by less than the target, which 1e-4 to 1e-2 reach: every decision is feasible."""
    content = _content(tmp_path, lowest=1e-7, highest=1e-5, patience=1)
    content["train"]["epochs"] = 1
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    assert run.status["step"] == 3
    assert _series(run, "feasible").all()
    assert not _series(run, "edge").any()
    assert (_series(run, "rate") > 1e-5).all()
    assert _series(run, "predicted") == pytest.approx(0.002, rel=0.1)


def test_an_edge_that_remains_is_told_from_a_target_out_of_reach(tmp_path: Path) -> None:
    """A grid up to 1e-8 is doubled nine times, to 5.12e-6 (ten times were more than a thousandfold), where the loss
    still falls faster with the rate.
    """
    content = _content(tmp_path, lowest=1e-10, highest=1e-8, patience=2)
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    assert run.status["step"] == 1
    assert _series(run, "edge").tolist() == [1, 1]
    assert _series(run, "feasible").tolist() == [0, 0]
    why = run.provenance["stopped"]["why"]
    assert why.startswith(
        "target_decrease: a decrease of 0.20% was not reached 2 times in a row, 2 of them because the"
    )
    assert why.endswith("decrease still grew at the highest rate tried, 5.12e-06: raise highest")


@pytest.mark.slow
def test_it_stops_when_enough_questions_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares made to be 0.2 at state 0, 0.8 at 1 (not more than 0.8), 0.9 at 2: training ends at state 2."""
    shares = iter([0.2, 0.8, 0.9])
    answered = lambda self, context: SimpleNamespace(arrays={"correct_share": next(shares)})  # noqa: E731
    monkeypatch.setattr(target_decrease.Questions, "look", answered)
    run = open_run(execute(validate(_content(tmp_path, questions="q.jsonl"), "test"), runs_dir=tmp_path / "runs"))
    assert run.status["step"] == run.status["total_steps"] == 2
    assert run.provenance["stopped"]["why"].endswith("90% of the questions were answered rightly, more than 80%")
    assert _series(run, "correct").tolist() == [0.2, 0.8, 0.9]


@pytest.mark.slow
def test_questions_that_nobody_can_answer_stop_nothing(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "the model", "answer": "1234"}')
    run = open_run(execute(validate(_content(tmp_path, questions=str(path)), "test"), runs_dir=tmp_path / "runs"))
    assert run.status["step"] == 9
    assert set(_series(run, "correct")) == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
def test_an_interrupted_run_decides_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    recipe = validate(_content(tmp_path, every=every), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 5, monkeypatch)
    assert [c.manifest["files"] for c in whole.checkpoints] == [c.manifest["files"] for c in parts.checkpoints]
    for name in ("rate", "predicted", "loss"):
        assert _series(whole, name).tolist() == _series(parts, name).tolist()
    decided = whole.series("target_decrease_rate", "train")["step"].tolist()
    assert decided == [step for step in range(9) if step % every == 0]


def test_an_unknown_probe_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown probe set 'nvel'"):
        validate(_content(tmp_path, new="nvel"), "test")


def test_rates_that_span_nothing_are_refused_with_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"lowest 0\.1 is not below highest 0\.01"):
        validate(_content(tmp_path, lowest=0.1, highest=0.01), "test")


@pytest.mark.slow
def test_killed_while_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last checkpoint, before the decision is on record: the same run in the end, nothing twice."""
    recipe = validate(_content(tmp_path, target=0.5, patience=2), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    save = Training._save

    def die(self: Training, place: Any) -> None:
        save(self, place)
        if place.step == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_save", die)
    with pytest.raises(KeyboardInterrupt):
        execute(recipe, runs_dir=tmp_path / "parts")
    monkeypatch.setattr(Training, "_save", save)
    parts = open_run(execute(recipe, runs_dir=tmp_path / "parts"))
    assert parts.status["state"] == "finished"
    rows = [
        run.metrics[run.metrics["scope"].astype(str) != "timing"][["step", "name", "scope", "value"]].astype(str)
        for run in (whole, parts)
    ]
    left, right = (sorted(map(tuple, one.to_numpy())) for one in rows)
    assert left == right
