"""Rises of the loss: steps that overshoot are told from batches that differ."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ontogeny.analyses.rises import Landscape, Rises, break_even, landscape_of
from ontogeny.core.errors import StoreError
from ontogeny.store.run import open_run
from tests.store.test_run_group import write_metrics

RATES = np.array([0.001, 0.002, 0.004])


def test_break_even_by_hand() -> None:
    """From +0.02 at 0.002 to -0.02 at 0.004: half way, 0.003. At once: 0. Never: infinite."""
    assert break_even(RATES, np.array([0.01, 0.02, -0.02])) == pytest.approx(0.003)
    assert break_even(RATES, np.array([-0.01, -0.02, -0.02])) == 0
    assert break_even(RATES, np.array([0.01, 0.02, 0.03])) == float("inf")


def judged(rate: float, curvature: float, noise: float, seed: int = 0) -> dict:  # type: ignore[type-arg]
    """40 steps on a parabola, decrease = rate - curvature rate^2; batches differ by `noise`."""
    random = np.random.default_rng(seed)
    one = RATES - curvature * RATES**2
    scheduled = np.full(40, rate)
    change = -np.interp(rate, [0, *RATES], [0, *one]) + random.normal(0, noise, 40)
    curves = np.tile(one, (40, 1))
    seen = Landscape(rates=RATES, decrease={"train": curves, "new": curves}, scheduled=scheduled, change=change)
    return dict(Rises().judge(seen).numbers)


def test_planted_overshoot() -> None:
    """Curvature 500: break-even at 0.002 exactly, best of those looked at 0.001. A rate of 0.003 is too large."""
    found = judged(0.003, 500, 0.0)
    assert (found["train"]["above"], found["new"]["above"], found["rose"], found["overshot"]) == (40, 40, 40, 40)
    assert found["train"]["of_best"] == pytest.approx(3)
    assert found["train"]["break_even"] == pytest.approx(np.full(40, 0.002))


def test_batches_that_differ_are_no_overshoot() -> None:
    found = judged(0.001, 100, 0.05)
    assert 10 < found["rose"] < 30  # noise of 5% around a fall of 0.1%
    assert found["overshot"] == found["train"]["above"] == 0


def test_read_from_a_run(tmp_path: Path) -> None:
    """Looks at 0, 1 and 2 of two steps: the last is followed by none. Rate 0.004; loss 4, then 5: up a quarter."""
    rows = [(s, "loss", "train", v) for s, v in ((0, 4.0), (1, 5.0))]
    rows += [(s, "learning_rate", "train", 0.004) for s in (0, 1)]
    run = write_metrics(tmp_path / "r", rows)
    with pytest.raises(StoreError, match="has no measure 'lr_landscape' of one step"):
        landscape_of(run)
    decrease = np.zeros((3, 3, 3))
    decrease[0, 0] = [0.01, 0.02, -0.02]
    seen = xr.Dataset(
        {"decrease": (("checkpoint", "batch", "learning_rate"), decrease)},
        {"batch": ["train", "new", "general"], "learning_rate": RATES, "step": ("checkpoint", [0, 1, 2])},
        {"kind": "lr_landscape", "horizon": 1},
    )

    class Measured:
        path, measures = run.path, ["l"]
        series = staticmethod(open_run(run.path).series)

        def measure(self, name: str) -> xr.Dataset:
            return {"l": seen}[name]

    found = landscape_of(Measured())  # type: ignore[arg-type]
    assert found.change.tolist() == [0.25]
    assert found.scheduled.tolist() == [0.004]
    assert list(found.decrease) == ["train", "new"]
    result = Rises().judge(found)
    assert result.verdict == "of 1 rises of the training loss, 1 came with a step that was too large"
