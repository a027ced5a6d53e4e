"""A control in one file decides something new; the run is killed, resumes, and is opened again afterwards."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate, validate_component
from ontogeny.runs.backfill import backfill
from ontogeny.runs.execute import execute, resume
from ontogeny.runs.reopen import open_at, prepare_again
from ontogeny.store.run import Run, open_run
from tests.architecture.planted.planting import planted, run_until_killed
from tests.small_runs import differences, tree

pytestmark = pytest.mark.slow  # they train models of their own


def _recipe(texts: Path, term: str = "l2_start", **train: Any) -> Recipe:
    content = tree(texts, measures=["evaluation"], objective=["next_token", {"kind": "l2_start", "weight": 0.1}])
    controls = [{"kind": "pull_back", "term": term, "every": 2}, "harden"]
    content["train"] = content["train"] | {"controls": controls, "optimizer": {"weight_decay": 0.5}} | train
    return validate(content, "test")


@pytest.fixture(autouse=True)
def _planted() -> Iterator[None]:
    with planted("ontogeny.controls", "pull_back"), planted("ontogeny.controls", "harden"):
        yield


def _decided(run: Run, name: str) -> dict[int, float]:
    rows = run.series(name, "train")
    return dict(zip(rows["step"], rows["value"], strict=True))


def test_one_file_is_enough(texts: Path, tmp_path: Path) -> None:
    recipe = _recipe(texts)
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    killed = run_until_killed(recipe, tmp_path / "killed", 10)
    assert differences(whole, resume(killed)) == []
    run = open_run(whole)
    norms = _decided(run, "pull_back_norm")
    # 0.5, then x 0.8 at every second state of 12
    assert norms == pytest.approx({2 * n: 0.5 * 0.8**n for n in range(6)})
    _is_in_force_again(run, recipe)
    _weights_are_those_of_evaluation(run)


def _is_in_force_again(run: Run, recipe: Recipe) -> None:
    """At checkpoint 8 the decisions before it hold: of state 6 (every second), of state 7 (every one)."""
    checkpoint = next(checkpoint for checkpoint in run.checkpoints if checkpoint.step == 8)
    session = open_at(run, recipe, prepare_again(run, recipe), {}, checkpoint, 12)
    assert session.clip == _decided(run, "pull_back_norm")[6]
    weights = session.objective.weights(session.progress())
    assert weights == {"next_token": 1.0, "l2_start": _decided(run, "pull_back_weight")[6]}
    decays = {group["weight_decay"] for group in session.optimizer.param_groups}
    assert decays == {0.0, _decided(run, "harden_decay")[7]}
    dropout = {module.p for module in session.model.modules() if isinstance(module, nn.Dropout)}
    assert dropout == {_decided(run, "harden_dropout")[7]}


def _weights_are_those_of_evaluation(run: Run) -> None:
    """The objective that evaluation reports has the decided weight, live and when it looks afterwards."""
    backfill(run.path, [validate_component("ontogeny.measures", {"kind": "evaluation", "name": "afterwards"})])
    run = open_run(run.path)
    live, afterwards = (run.measure(name).load() for name in ("evaluation", "afterwards"))
    assert all(live[name].equals(afterwards[name]) for name in live.data_vars)
    weight = _decided(run, "pull_back_weight")[6]
    place = live.step.values.tolist().index(8)
    objective = float(live["objective"].sel(probe="novel")[place])
    next_token, penalty = (float(live[f"term_{name}"].sel(probe="novel")[place]) for name in ("next_token", "l2_start"))
    assert weight > 0.1
    assert objective == pytest.approx(next_token + weight * penalty, rel=1e-6)


def test_what_is_decided_changes_the_training(texts: Path, tmp_path: Path) -> None:
    """The same recipe without the controls, and with a fixed weight, ends elsewhere."""
    decided, fixed = (
        open_run(execute(recipe, runs_dir=tmp_path / name))
        for name, recipe in (("decided", _recipe(texts)), ("fixed", _recipe(texts, controls=[])))
    )
    assert np.isclose(decided.series("loss", "train")["value"][0], fixed.series("loss", "train")["value"][0], rtol=0.1)
    assert decided.checkpoints[-1].place.weights_sha256 != fixed.checkpoints[-1].place.weights_sha256


def test_it_checks_the_recipe_itself(texts: Path) -> None:
    with pytest.raises(RecipeError, match=r"key 'train\.controls\.0\.term': no loss term 'ewc'"):
        _recipe(texts, term="ewc")
