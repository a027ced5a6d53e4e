"""The smallest share of replay that is enough, by hand and planted."""

import numpy as np
import pytest

from ontogeny.analyses._least_share import falling, least_share


def test_by_hand() -> None:
    """Means 0.06, 0.03, 0.01 at 0, 0.2, 0.6; 0.02 lies half way between the last two: 0.2 + 0.4 / 2 = 0.4.

    Two seeds that differ by 0.0002 everywhere: error 0.0001, t(0.975, 1) = 12.706, half width 0.0012706. The upper end
    meets the bound 0.0012706 / 0.02 x 0.4 = 0.025412 later, the lower as much earlier.
    """
    rises = np.array([0.06, 0.03, 0.01])[:, None] + np.array([0.0001, -0.0001])
    found = least_share([0, 0.2, 0.6], rises, 0.02)
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((0.4 - 0.025412, 0.4 + 0.025412), abs=1e-5)
    assert found.words == "0.4 (95% 0.375 to 0.425)"


def test_means_that_rise_are_pooled() -> None:
    assert falling(np.array([5.0, 1.0, 3.0, 0.0])).tolist() == [5, 2, 2, 0]
    assert falling(np.array([1.0, 2.0, 3.0])).tolist() == [2, 2, 2]
    assert falling(np.array([3.0, 2.0, 1.0])).tolist() == [3, 2, 1]


def test_none_of_those_tested_and_the_smallest() -> None:
    noise = np.array([-0.001, 0.0, 0.001])
    never = least_share([0.05, 0.5], np.array([0.3, 0.2])[:, None] + noise, 0.02)
    assert np.isnan(never.value)
    assert never.words == "none of those tested (up to 0.5)"
    always = least_share([0.05, 0.5], np.array([0.01, 0.0])[:, None] + noise, 0.02)
    assert always.words == "at most 0.05 (95% at most 0.05 to 0.05)"
    # Mean 0.03 at the last, but one seed of three is far below: 0.03 - 4.303 x 0.02 / sqrt(3) < 0.02.
    unsure = least_share([0.05, 0.5], np.array([[0.3, 0.3, 0.3], [0.01, 0.03, 0.05]]), 0.02)
    assert unsure.words.startswith("none of those tested (up to 0.5); by the interval it might be from 0.")


def test_planted_threshold_is_covered_and_noise_alone_has_none() -> None:
    """Rise 0.1 - 0.2 x share meets 0.02 at 0.4. Over 200 draws of five seeds the interval misses it at most 19 times
    (10 expected, 20 or more have a probability of 0.3%). Where replay does nothing, no share is named."""
    shares = [0.0, 0.25, 0.5, 0.75]
    missed = named = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        noise = random.normal(0, 0.01, (4, 5))
        found = least_share(shares, 0.1 - 0.2 * np.array(shares)[:, None] + noise, 0.02)
        missed += not found.low <= 0.4 <= found.high
        named += not np.isnan(least_share(shares, 0.1 + noise, 0.02).value)
    assert missed <= 19
    assert named == 0
