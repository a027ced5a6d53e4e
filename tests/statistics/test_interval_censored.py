"""Times between two looks: censoring, the curve and concordance by hand, and Kaplan-Meier where times are exact."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics.interval_censored import censoring_intervals, comparable, concordance, turnbull

NEVER = np.inf


def test_intervals_by_hand() -> None:
    """Four passages at epochs 0, 1, 5: memorized from 1 on; from 5 on; once and lost; from the beginning."""
    memorized = np.array([[0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 0, 1]], dtype=bool)
    low, high = censoring_intervals(np.array([0.0, 1.0, 5.0]), memorized)
    assert low.tolist() == [0, 1, 5, -np.inf]
    assert high.tolist() == [1, 5, np.inf, 0]


def test_turnbull_by_hand() -> None:
    """Intervals that do not overlap: the shares themselves. (0, 1] twice, (1, 5] once, after 5 once."""
    times, curve = turnbull(np.array([0.0, 0, 1, 5]), np.array([1.0, 1, 5, NEVER]))
    assert times.tolist() == [1, 5, np.inf]
    assert curve == pytest.approx([0.5, 0.75, 1])


def test_turnbull_shares_out_what_is_not_known() -> None:
    """(0, 1], (1, 2], and one in (0, 2]: its half mass goes to each, so both have one half."""
    times, curve = turnbull(np.array([0.0, 1, 0]), np.array([1.0, 2, 2]))
    assert times.tolist() == [1, 2]
    assert curve == pytest.approx([0.5, 1])


def test_turnbull_of_exact_times_is_kaplan_meier() -> None:
    """Times known to a hair, some right-censored: 1 minus scipy's survival function."""
    random = np.random.default_rng(0)
    times, limits = random.exponential(5, 60), random.exponential(8, 60)
    seen = times <= limits
    low = np.where(seen, times - 1e-9, limits)
    high = np.where(seen, times, NEVER)
    found, curve = turnbull(low, high, tolerance=1e-12)
    sample = scipy_stats.CensoredData(uncensored=times[seen], right=limits[~seen])
    theirs = scipy_stats.ecdf(sample).cdf
    for at, value in zip(found[:-1], curve[:-1], strict=True):
        assert value == pytest.approx(float(theirs.evaluate(at)), abs=1e-4)


def test_concordance_by_hand() -> None:
    """Onsets in (0,1], (1,2], (2,inf): three pairs. Values 1, 3, 2: two in order, one not: 2/3. Ties count half."""
    earlier = comparable(np.array([0.0, 1, 2]), np.array([1.0, 2, NEVER]))
    assert int(earlier.sum()) == 3
    assert concordance(earlier, np.array([1.0, 3, 2])) == pytest.approx(2 / 3)
    assert concordance(earlier, np.array([1.0, 1, 1])) == 0.5


def test_overlapping_intervals_are_not_compared() -> None:
    assert not comparable(np.array([0.0, 0.0]), np.array([1.0, 5.0])).any()
