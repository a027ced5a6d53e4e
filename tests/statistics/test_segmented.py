"""Two lines that are there are recovered exactly."""

import numpy as np
import pytest

from ontogeny.statistics.segmented import TwoLines, slopes, slopes_of_sides

X = np.array([0.0, 1, 3, 5, 10, 20, 30])


def test_a_slope_by_hand() -> None:
    """x = 0, 1, 2 about 1: (-1 x 1 + 0 x 3 + 1 x 5) / 2 = 2; a constant column has none."""
    assert slopes(np.arange(3.0), np.array([[1.0, 7], [3, 7], [5, 7]])).tolist() == [2, 0]


def test_planted_lines() -> None:
    """Falls by 2 per unit up to x = 5, rises by 0.5 from there: the bend is 2.5."""
    curve = np.where(X < 5, -2 * X, -10 + 0.5 * (X - 5))
    lines = TwoLines(X)
    assert lines.candidates.tolist() == [2, 3, 4]  # three points on each side
    place = lines.best(curve)
    assert X[lines.candidates[place]] == 5
    assert lines.bend(curve, place) == pytest.approx(2.5)
    before, after = slopes_of_sides(X, curve[:, None], int(lines.candidates[place]))
    assert (before[0], after[0]) == pytest.approx((-2, 0.5))


def test_a_knee_is_found_where_it_is() -> None:
    """Rises by 1 per unit to x = 5, then stays: the slope changes by -1."""
    x = np.arange(9.0)
    lines, curve = TwoLines(x), np.minimum(x, 5)
    place = lines.best(curve)
    assert (x[lines.candidates[place]], lines.bend(curve, place)) == pytest.approx((5, -1))
