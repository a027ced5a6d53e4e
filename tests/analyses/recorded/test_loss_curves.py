"""Losses of runs that are compared: what diverged is said, and only equal things are compared."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ontogeny.analyses.recorded.loss_curves import loss_curves, outcomes
from ontogeny.core.errors import StoreError

NAN = float("nan")


class View(SimpleNamespace):
    """Can be referred to weakly, as a run's view can."""

    __hash__ = object.__hash__


def run(rows: list[tuple[int, str, float]], *, state: str = "finished", fingerprint: str = "same") -> Any:
    """A run with these losses (step, probe set, nats per token)."""
    table = pd.DataFrame(rows, columns=["step", "scope", "value"])
    return View(
        name="a",
        metrics={"evaluation/nll": table},
        name_of=lambda metric: metric,
        provenance={},
        recipe={},
        status={"state": state, "step": 4},
        probes={"novel": SimpleNamespace(fingerprint=fingerprint)},
    )


def test_a_loss_that_is_not_a_number_stays_and_a_checkpoint_that_lacks_a_set_does_not() -> None:
    """Steps 0, 5 and 10 have both sets; at 10 one diverged. Step 7 has one set alone."""
    rows = [(0, "novel", 3.0), (0, "other", 4.0), (5, "novel", 2.0), (5, "other", 4.5), (7, "novel", 1.9)]
    curves = loss_curves(run([*rows, (10, "novel", NAN), (10, "other", 5.0)]))
    assert curves is not None
    assert curves.steps.tolist() == [0, 5, 10]
    assert np.array_equal(curves.losses["novel"], [3.0, 2.0, NAN], equal_nan=True)
    assert curves.losses["other"].tolist() == [4.0, 4.5, 5.0]


def test_a_run_that_has_not_ended_is_not_compared() -> None:
    rows = [(0, "novel", 3.0), (5, "novel", 2.0)]
    group: Any = SimpleNamespace(runs=[run(rows), run(rows, state="running")], bands=[])
    with pytest.raises(StoreError, match="lacks the end of a: it is running, at step 4"):
        outcomes(group)


def test_runs_that_looked_at_other_passages_are_not_compared() -> None:
    rows = [(0, "novel", 3.0), (5, "novel", 2.0)]
    group: Any = SimpleNamespace(runs=[run(rows), run(rows, fingerprint="other")], bands=[])
    with pytest.raises(StoreError, match="lacks equal passages: the probe set 'novel' of a is not that of a"):
        outcomes(group)
