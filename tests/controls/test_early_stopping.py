"""Training ends when held-out text stops getting better, judged by what compares over training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ontogeny.controls.early_stopping import EarlyStopping
from ontogeny.core.controls import Decision
from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.runs.execute import execute, resume
from ontogeny.store.run import open_run
from ontogeny.store.writer import RunWriter
from tests.small_runs import differences, interrupt_and_resume, tree, write_text


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


def test_a_new_best_is_kept_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """New bests at decisions 0, 1 and 3 of 4.0, 3.0, 3.5, 2.9; by default none is kept."""
    values = [4.0, 3.0, 3.5, 2.9]
    kept = [decision.keep for decision in follow(monkeypatch, EarlyStopping(probe="novel", keep="best"), values)]
    assert kept == [True, True, False, True]
    assert not any(decision.keep for decision in follow(monkeypatch, EarlyStopping(probe="novel"), values))


LOSSES = [4.0, 3.0, 3.5, 2.0, 2.5, 1.9, 2.2, 2.3, 2.4, 2.5, 2.6, 2.7]
"""At states 0 to 11: new bests at 0, 1, 3 and 5."""


def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EarlyStopping, "_value", lambda self, context: LOSSES[context.progress.step])


def kept_recipe(words: Path, keep: str = "best", every: int = 4) -> Any:
    own = {
        "steps": 12,
        "batch": 6,
        "controls": [{"kind": "early_stopping", "probe": "novel", "every": 1, "patience": 9, "keep": keep}],
    }
    changes = {"measures": ["evaluation", "weight_drift"], "checkpoints": {"every_steps": every}}
    return validate(tree(words, train=own, **changes), "test")


def test_the_best_state_is_a_checkpoint_and_earlier_bests_are_dropped(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scheduled: 0, 4, 8, 12. Of the bests 0, 1, 3 and 5 the last is kept, and 0, which is scheduled."""
    planted(monkeypatch)
    run = open_run(execute(kept_recipe(words), runs_dir=tmp_path / "best"))
    assert [c.step for c in run.checkpoints] == [0, 4, 5, 8, 12]
    assert [c.kept_by for c in run.checkpoints] == [None, None, "early_stopping", None, None]
    assert run.series("early_stopping_best_step", "train")["value"].iloc[-1] == 5
    run.checkpoints[2].verify()


@pytest.mark.slow
def test_keeping_the_best_changes_nothing_else(words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are the same, and what was kept besides is no earlier state to measure a drift from."""
    planted(monkeypatch)
    run = open_run(execute(kept_recipe(words), runs_dir=tmp_path / "best"))
    plain = open_run(execute(kept_recipe(words, "scheduled"), runs_dir=tmp_path / "plain"))
    assert [c.step for c in plain.checkpoints] == [0, 4, 8, 12]
    drift = [run.measure("weight_drift").load() for run in (run, plain)]
    assert drift[0].identical(drift[1])
    assert run.checkpoints[-1].place == plain.checkpoints[-1].place


@pytest.mark.slow
@pytest.mark.parametrize("killed_at", [2, 5, 6])
def test_the_best_state_survives_a_resume(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """Stopped while step 2, 5 or 6 is recorded: before a best, right after it was saved, and later."""
    planted(monkeypatch)
    whole = execute(kept_recipe(words), runs_dir=tmp_path / "whole")
    again = interrupt_and_resume(kept_recipe(words), tmp_path / "again", killed_at, monkeypatch)
    assert differences(whole, again.path) == []


@pytest.mark.slow
def test_a_best_that_was_not_dropped_before_the_kill_is_dropped_after(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between saving the best at 5 and dropping the one at 3: the resumed run decides again, and drops it."""
    planted(monkeypatch)
    drop = RunWriter.drop_checkpoints

    def killed(self: RunWriter, steps: list[int]) -> None:
        if steps == [3]:
            raise KeyboardInterrupt
        drop(self, steps)

    monkeypatch.setattr(RunWriter, "drop_checkpoints", killed)
    with pytest.raises(KeyboardInterrupt):
        execute(kept_recipe(words), runs_dir=tmp_path)
    path = next(tmp_path.iterdir())
    assert [c.step for c in open_run(path).checkpoints] == [0, 3, 4, 5]
    monkeypatch.setattr(RunWriter, "drop_checkpoints", drop)
    assert [c.step for c in open_run(resume(path)).checkpoints] == [0, 4, 5, 8, 12]


def test_the_key_counts_in_the_hash_only_where_it_is_used(words: Path) -> None:
    assert "keep" not in kept_recipe(words, "scheduled")._content()["train"]["controls"][0]
    assert kept_recipe(words, "scheduled").recipe_hash != kept_recipe(words).recipe_hash


def test_the_best_of_what_does_not_compare_is_refused(words: Path) -> None:
    with pytest.raises(RecipeError, match="does not compare over training"):
        recipe(words, ["next_token", {"kind": "kd"}], metric="objective", keep="best")
