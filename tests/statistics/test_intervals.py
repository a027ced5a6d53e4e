"""Intervals: against scipy, and by hand at the ends."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics.intervals import bootstrap, bootstrap_weights, t_interval, t_quantile, two_sided_p, wilson


def test_t_interval_equals_scipy() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    value, low, high, p = t_interval(values)
    theirs = scipy_stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval()
    assert (value, low, high, p) == pytest.approx((3.5, interval.low, interval.high, theirs.pvalue))


def test_one_value_has_no_interval() -> None:
    value, *rest = t_interval(np.array([2.0, np.nan]))
    assert value == 2
    assert np.isnan(rest).all()


def test_the_t_quantile_is_that_of_tables() -> None:
    assert [t_quantile(n) for n in (1, 4, 30)] == pytest.approx([12.7062, 2.77645, 2.04227], abs=1e-4)


def test_wilson_equals_scipy_and_ends_at_0_and_1() -> None:
    low, high = wilson(np.array([0.0, 3 / 7, 1.0, 0.0]), np.array([48, 7, 48, 0]))
    interval = scipy_stats.binomtest(3, 7).proportion_ci(method="wilson")
    # 0 of 48 ends at z^2 / (48 + z^2) = 3.84146 / 51.84146 = 0.07410, 48 of 48 begins at 1 less that.
    assert low[:3] == pytest.approx([0, interval.low, 1 - 0.07410], abs=1e-5)
    assert high[:3] == pytest.approx([0.07410, interval.high, 1], abs=1e-5)
    assert (low[0], high[2]) == (0, 1)
    assert np.isnan([low[3], high[3]]).all()


def test_wilson_by_hand() -> None:
    """5 of 10: (0.5 + 0.1921) / 1.3841 -+ ..., 0.2366 to 0.7634."""
    assert [float(end) for end in wilson(np.array(0.5), np.array(10))] == pytest.approx([0.2366, 0.7634], abs=1e-4)


def test_a_bootstrap_of_a_mean_is_about_its_t_interval() -> None:
    """40 values with sd near 1: half the interval about 1.96 / sqrt(40) = 0.31; equal within a tenth."""
    random = np.random.default_rng(0)
    values = random.normal(size=40)
    low, high = bootstrap(40, lambda drawn: float(values[drawn].mean()), random)
    exact = t_interval(values)
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.035)
    assert np.isnan(bootstrap(5, lambda drawn: float("nan"), random, 10)).all()


def test_bootstrap_weights_are_shares() -> None:
    weights = bootstrap_weights(6, np.random.default_rng(0), 20)
    assert weights.shape == (20, 6)
    assert weights.sum(axis=1) == pytest.approx(np.ones(20))


def test_an_error_that_is_no_number_has_no_p() -> None:
    assert np.isnan(two_sided_p(1.0, float("nan"), 3))
    assert two_sided_p(1.0, 0.0, 3) == 0
