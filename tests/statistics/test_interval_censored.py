"""Times between two looks: censoring, the curve and concordance by hand, and Kaplan-Meier where times are exact."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics.interval_censored import (
    censoring_intervals,
    comparable,
    concordance,
    earlier_by_document,
    turnbull,
)

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
    random = np.random.default_rng(0)
    earlier = earlier_by_document(np.array([0.0, 1, 2]), np.array([1.0, 2, NEVER]), np.arange(3))
    assert earlier.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert concordance(earlier, np.array([1.0, 3, 2]), random, 99).value == pytest.approx(2 / 3)
    assert concordance(earlier, np.array([1.0, 1, 1]), random, 99) == (0.5, 1.0)


def test_a_document_counts_once_by_hand() -> None:
    """Document 0 has onsets (0,1] and (4,5], document 1 has (2,3] and (2,3]: of four pairs two are in each order."""
    low, high = np.array([0.0, 4, 2, 2]), np.array([1.0, 5, 3, 3])
    assert earlier_by_document(low, high, np.array([0, 0, 1, 1])).tolist() == [[0, 0.5], [0.5, 0]]


def test_all_orders_of_five_documents() -> None:
    """Values in the order of five onsets: of all 120 orders that and its reverse reach the statistic: p = 2 / 120."""
    low, high = np.arange(5.0), np.arange(1.0, 6)
    earlier = earlier_by_document(low, high, np.arange(5))
    found = concordance(earlier, np.arange(5.0), np.random.default_rng(0), 20_000)
    assert found.value == 1
    assert found.p == pytest.approx(2 / 120, abs=0.004)


def test_overlapping_intervals_are_not_compared() -> None:
    assert not comparable(np.array([0.0, 0.0]), np.array([1.0, 5.0])).any()
