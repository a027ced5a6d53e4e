"""Training ends when held-out text stops getting better, judged by what compares over training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ontogeny.controls.early_stopping import EarlyStopping
from ontogeny.core.controls import Decision
from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.small_runs import tree, write_text


def follow(monkeypatch: pytest.MonkeyPatch, control: EarlyStopping, values: list[float]) -> list[Decision]:
    past: list[Decision] = []
    for step, value in enumerate(values):
        monkeypatch.setattr(EarlyStopping, "_value", lambda self, context, value=value: value)
        context: Any = SimpleNamespace(progress=SimpleNamespace(step=10 * step))
        past.append(control.decide(context, past))
    return past


def test_it_stops_after_patience_without_a_new_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Best 3.0 at step 10; 2.95 is no new best with a least gain of 0.1, nor 3.2; after two of these it stops."""
    past = follow(monkeypatch, EarlyStopping(probe="novel", patience=2, least_gain=0.1), [4.0, 3.0, 2.95, 3.2])
    assert [decision.values["waited"] for decision in past] == [0, 0, 1, 2]
    assert [decision.values["best"] for decision in past] == [4.0, 3.0, 3.0, 3.0]
    assert past[-1].values["best_step"] == 10
    assert [decision.stop is None for decision in past] == [True, True, True, False]
    assert past[-1].stop is not None
    assert "nll of novel has had no new best for 2 decisions; the best was 3.0000 at step 10" in past[-1].stop


def test_it_goes_on_while_it_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is worse in between: 3.5 waits once, and 2.9 starts anew."""
    past = follow(monkeypatch, EarlyStopping(probe="novel", patience=2), [4.0, 3.0, 3.5, 2.9, 3.0, 2.8])
    assert [decision.values["waited"] for decision in past] == [0, 0, 1, 0, 1, 0]
    assert all(decision.stop is None for decision in past)


def recipe(folder: Path, objective: list[Any], **control: Any) -> Any:
    own = {"epochs": 3, "batch": 6, "lr": 0.0, "controls": [{"kind": "early_stopping", "probe": "novel", **control}]}
    companions = {"teacher": {"kind": "ladder", "size": "pico"}} if any("kd" in str(term) for term in objective) else {}
    return validate(tree(folder, objective=objective, companions=companions, train=own, measures=[]), "test")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("texts") / "words")


RAMP = {"shape": "piecewise", "points": [[0.1, 0.0], [0.4, 1.0]]}


@pytest.mark.parametrize(
    ("objective", "why"),
    [
        (["next_token", {"kind": "kd"}], "since the temperature of 'kd' changes"),
        (["next_token", {"kind": "kd", "temperature": 2.0, "weight": RAMP}], "since the weight of 'kd' changes"),
        ([{"kind": "next_token", "weight": RAMP}, "kd"], "weight of 'next_token' and the temperature of 'kd' change:"),
    ],
)
def test_an_objective_that_does_not_compare_is_refused(words: Path, objective: list[Any], why: str) -> None:
    with pytest.raises(RecipeError, match=f"does not compare over training.*{why}.*write metric: nll"):
        recipe(words, objective, metric="objective")
    assert recipe(words, objective).train is not None, "plain NLL compares whatever the objective does"


def test_an_objective_that_stays_as_it_is_may_decide(words: Path) -> None:
    constant = ["next_token", {"kind": "kd", "temperature": 2.0, "weight": 0.5}]
    assert recipe(words, constant, metric="objective").train is not None


def test_a_run_that_does_not_learn_is_stopped(words: Path, tmp_path: Path) -> None:
    """At learning rate 0 nothing gets better: decisions at states 0, 1 and 2 have waited 0, 1 and 2."""
    run = open_run(execute(recipe(words, ["next_token"], every=1, patience=2), runs_dir=tmp_path))
    assert run.status["step"] == 2
    assert run.provenance["stopped"]["why"].startswith("early_stopping: nll of novel has had no new best")
    assert run.checkpoints[-1].step == 2
