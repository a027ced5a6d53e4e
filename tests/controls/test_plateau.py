"""The rate rises when no layer climbs any more."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ontogeny.controls import plateau
from ontogeny.controls.plateau import Plateau
from ontogeny.core.controls import Decision
from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.small_runs import differences, interrupt_and_resume, tree, write_text


def _follow(monkeypatch: pytest.MonkeyPatch, control: Plateau, mads: list[list[float]]) -> list[Decision]:
    """Decisions over given MADs of two blocks."""
    past: list[Decision] = []
    for step, mad in enumerate(mads):
        monkeypatch.setattr(plateau, "block_mad", lambda context, mad=mad: np.array(mad))
        context: Any = SimpleNamespace(progress=SimpleNamespace(step=step))
        past.append(control.decide(context, past))
    return past


def test_it_waits_for_the_last_layer_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of two decisions, a plateau below a fifth of the first gain.

    At decision 2 both blocks have gained 2, which is the first gain at this rate; at 3 they gained 1.1 and 2 since
    decision 1, at 4 0.1 and 1.2: the second block climbs, 1.2 / 2 = 0.6. At 5 it is 0.3 / 2 = 0.15: raised to 2e-4.
    There a new first gain is taken: at 7 0 and 0.1 since decision 5. At 8 the second block has gained as much since 6;
    at 9 nothing since 7: raised to the ceiling of 3e-4, above which there is nothing.
    """
    control = Plateau(start=1e-4, factor=2.0, ceiling=3e-4, window=2, growth=0.2)
    mads = [[1, 1], [2, 2], [3, 3], [3.1, 4], [3.1, 4.2], [3.1, 4.3], [3.1, 4.3], [3.1, 4.4], [3.1, 4.4], [3.1, 4.4]]
    past = _follow(monkeypatch, control, [*mads, *[[3.1, 4.4]] * 4])
    rates = [decision.values["rate"] for decision in past]
    assert rates == pytest.approx([1e-4] * 5 + [2e-4] * 4 + [3e-4] * 5)
    growth = [decision.values["growth"] for decision in past]
    assert growth[2:6] == pytest.approx([1, 1, 0.6, 0.15])
    assert growth[7:10] == pytest.approx([1, 1, 0])
    assert np.isnan([growth[0], growth[1], growth[6]]).all()
    assert [decision.values["raised"] for decision in past] == [0] * 5 + [1] + [0] * 3 + [1] + [0] * 4
    assert past[3].values["mad"] == pytest.approx(3.55)


def test_it_holds_while_they_climb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steadily, ever faster, or one of two: no plateau. One that climbs as the root of time comes to rest."""
    for climb in (lambda n: 0.01 * n, lambda n: 2.0**n):
        past = _follow(monkeypatch, Plateau(start=1e-4), [[climb(n), 0.01 * n**0.5] for n in range(60)])
        assert {decision.values["rate"] for decision in past} == {1e-4}
    # From n - 3 to n, 3 / (2 sqrt(n - 1.5)) of sqrt(3): below a quarter from n = 14 on.
    rests = _follow(monkeypatch, Plateau(start=1e-4), [[n**0.5, n**0.5] for n in range(16)])
    assert [n for n, decision in enumerate(rests) if decision.values["raised"]] == [14]


def test_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the MAD stays 0, every step is lost to rounding, and the rate is raised."""
    moved = _follow(monkeypatch, Plateau(window=1), [[0, 0], [1, 1], [2, 2]])
    assert [decision.values["growth"] for decision in moved[1:]] == [1, 1]
    lost = _follow(monkeypatch, Plateau(window=1, start=1e-10), [[0, 0], [0, 0]])
    assert lost[1].values["growth"] == 0
    assert lost[1].values["rate"] == 2e-10


def _content(folder: Path, **control: Any) -> dict[str, Any]:
    content = tree(write_text(folder / "words"), measures=["evaluation", "weight_drift"])
    controls = [{"kind": "plateau", "every": 1, "start": 1e-4, "window": 2, "growth": 5.0} | control]
    content["train"] = {"steps": 16, "batch": 8, "lr": 0.5, "dropout": 0.0, "controls": controls}
    return content


@pytest.mark.slow
def test_the_mad_is_that_of_weight_drift_and_the_rate_that_of_the_steps(tmp_path: Path) -> None:
    run = open_run(execute(validate(_content(tmp_path), "test"), runs_dir=tmp_path / "runs"))
    assert (
        run.series("learning_rate", "train")["value"].tolist() == run.series("plateau_rate", "train")["value"].tolist()
    )
    assert run.series("plateau_raised", "train")["value"].sum() >= 2
    drift = run.measure("weight_drift")
    for place, step in enumerate(drift.step.values[1:-1], start=1):
        for block in (0, 1):
            decided = run.series(f"plateau_mad_{block}", "train").set_index("step")["value"][step]
            assert decided == float(drift["block_mad_first"].sel(block=block)[place])


@pytest.mark.slow
def test_an_interrupted_run_is_the_same_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = validate(_content(tmp_path), "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 10, monkeypatch)
    assert differences(whole, parts.path) == []


def test_it_cannot_start_above_its_ceiling(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"start 1 is above ceiling 0\.01"):
        validate(_content(tmp_path, start=1.0), "test")
