"""A curve in one line, and in a small picture."""

import re

import numpy as np

from ontogeny.report.sparkline import marks, sparkline, svg, thinned
from ontogeny.store.history import Series
from tests.diagnosis.curves import history


def series(values: list[float] | np.ndarray) -> Series:
    found = history(loss=(range(1, len(values) + 1), list(values))).segments[0].get("loss")
    assert found is not None
    return found


def test_levels_by_hand() -> None:
    """0 to 7 in steps of one: the quantiles cut 0.14 from each end, so the levels are those of the numbers."""
    assert sparkline(series([0, 1, 2, 3, 4, 5, 6, 7])) == "▁▂▃▄▅▆▇█"


def test_one_spike_does_not_flatten_the_rest() -> None:
    values = [float(i % 8) for i in range(400)]
    values[200] = 1e9
    assert len(set(sparkline(series(values), width=400))) >= 8


def test_what_is_not_finite_is_a_gap() -> None:
    assert sparkline(series([1.0, float("nan"), 2.0])) == "▁·█"
    assert sparkline(series([float("nan")] * 3)) == "···"


def test_a_constant_is_flat() -> None:
    assert sparkline(series([3.0] * 10)) == "▁" * 10


def test_marks_stand_below_their_steps() -> None:
    """20 points in 10 cells: step 1 is in the first, step 20 in the last, step 11 in the sixth."""
    assert marks(series(np.arange(20.0)), (1, 11, 20), width=10) == "^    ^   ^"


def test_thinning_keeps_the_highest_and_lowest() -> None:
    values = np.zeros(10_000)
    values[[1234, 5678]] = 5.0, -3.0
    steps, kept = thinned(series(values))
    assert len(kept) <= 400
    assert (kept.max(), kept.min()) == (5.0, -3.0)
    assert (np.diff(steps) > 0).all()


def test_the_picture_holds_the_points_in_its_frame() -> None:
    """Two points from step 1 to 2, values 0 and 1: from the lower left corner of the frame to the upper right."""
    drawn = svg(series([0.0, 1.0]))
    match = re.search(r'points="([^"]*)"', drawn)
    assert match is not None
    assert match[1] == "52.0,128.0 550.0,10.0"


def test_evidence_that_is_not_finite_is_a_line() -> None:
    drawn = svg(series([1.0, float("nan"), 2.0, 3.0]), (2, 3))
    assert drawn.count("<circle") == 1
    assert drawn.count('class="mark"') == 1
