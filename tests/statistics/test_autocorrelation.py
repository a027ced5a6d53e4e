"""Autocorrelation times of known series, and the estimates that rest on them: by hand, and at their promised rates."""

import numpy as np
import pytest

from benchmarks.faults._clean import autocorrelated
from ontogeny.statistics import autocorrelation
from ontogeny.statistics.autocorrelation import geyer_time


def test_autocorrelation_time_of_ar1() -> None:
    # AR(1) with coefficient r has time (1 + r) / (1 - r): 3 for r = 0.5, 1 for white noise
    rng = np.random.default_rng(0)
    assert geyer_time(autocorrelated(rng, 20_000, 1.0, 0.5)) == pytest.approx(3, rel=0.15)
    assert geyer_time(rng.normal(size=20_000)) == pytest.approx(1, abs=0.1)


def test_the_largest_time_is_not_below_that_of_ar1() -> None:
    """AR(1) with coefficient 0.8: (1 + 0.8) / (1 - 0.8) = 9, the first of the estimates whose largest it is."""
    series = autocorrelated(np.random.default_rng(0), 20_000, 1.0, 0.8)
    time = autocorrelation.largest_time(series, autocorrelation.line_design(20_000))
    assert time >= 8.5


def test_equal_values_have_an_exact_mean() -> None:
    estimate = autocorrelation.detrended_mean(np.full(20, 1.5))
    assert (estimate["value"], estimate["low"], estimate["high"], estimate["p"]) == (1.5, 1.5, 1.5, 0)


def test_what_a_series_lacks_is_said_in_whole_stretches() -> None:
    assert autocorrelation.lacks(12.0) == ""
    assert "there are about 11; record more steps" in autocorrelation.lacks(11.9)
    assert "there is about 1; record more steps" in autocorrelation.lacks(1.2)


def test_a_series_that_wanders_is_not_assessable() -> None:
    estimate = autocorrelation.detrended_mean(np.cumsum(np.random.default_rng(0).normal(size=88)))
    assert estimate["lacks"].startswith("12 independent stretches: neighbours are so alike that there is less than 1;")
    assert "low" not in estimate


def test_a_difference_of_two_means_by_hand() -> None:
    """Errors 0.3 and 0.4: sqrt(0.09 + 0.16) = 0.5. Welch: 0.0625 / (0.0081 / 9 + 0.0256 / 16) = 0.0625 / 0.0025 = 25
    degrees of freedom; t(25) at 0.975 is 2.05954, half the interval 1.02977.
    """
    first = autocorrelation.SeriesEstimate(value=3.0, error=0.3, freedom=9.0)
    second = autocorrelation.SeriesEstimate(value=1.0, error=0.4, freedom=16.0)
    difference = autocorrelation.welch_difference(first, second)
    assert (difference["value"], difference["freedom"]) == (2.0, pytest.approx(25))
    assert difference["low"] == pytest.approx(2 - 1.02977, abs=1e-5)
    without = autocorrelation.SeriesEstimate(value=1.0, lacks="two epochs")
    assert autocorrelation.welch_difference(first, without) == {"value": 2.0, "lacks": "two epochs"}


def test_blocks_are_neighbours_in_a_circle() -> None:
    """12 values, 4 independent ones: time 3, blocks of 2 x 3 - 1 = 5; each sample holds 12 values in all."""
    assert autocorrelation.block_length(12, 4.0) == 5
    assert autocorrelation.block_length(12, 12.0) == 1
    weights = autocorrelation.block_weights(12, 5, np.random.default_rng(0), 50)
    assert weights.shape == (50, 12)
    assert (weights.sum(axis=1) == 12).all()
