"""Laws that were planted are found, noise gives none, and predictions hold as often as they say."""

import numpy as np
import pytest

from ontogeny.analyses.across._power_laws import Law, power_law, predict, shifted_law

X = [0.1, 0.4, 1.3]


def law(x: list[float], y: np.ndarray) -> Law:
    found = power_law(x, y)
    assert isinstance(found, Law)
    return found


def test_by_hand() -> None:
    """Seeds y = 2 x^1 and 8 x^3 at 1 and e: k is 1 and 3, mean 2, error sqrt(2) / sqrt(2) = 1, t(0.975, 1) = 12.706.

    c = sqrt(2 x 8) = 4. Scatter: log y differs by log 4 at x = 1 and by log 4 + 2 at e; squares about their means are
    halves of the squared differences, over one degree of freedom each.
    """
    e = np.e
    found = law([1, e], np.array([[2, 8], [2 * e, 8 * e**3]]))
    assert (found.k, found.k_low, found.k_high) == pytest.approx((2, 2 - 12.706, 2 + 12.706), abs=1e-3)
    assert found.c == pytest.approx(4)
    assert found.scatter**2 == pytest.approx((np.log(4) ** 2 + (np.log(4) + 2) ** 2) / 4)
    assert np.isnan(found.misfit_p)
    # At e^2: log y is log 2 + 2 and log 8 + 6: mean log 4 + 4.
    assert predict(found, e**2, 2).value == pytest.approx(4 * e**4)
    assert not found.claims


def test_each_seed_is_fitted_at_its_own_x() -> None:
    """y = 2 x at whatever x a seed has: k = 1 in both, which a fit at the means of x would miss in both."""
    x = np.array([[0.9, 1.1], [2.3, 1.7], [4.4, 3.6]])
    found = power_law(x, 2 * x)
    assert isinstance(found, Law)
    assert (found.k, found.k_low, found.k_high, found.c) == pytest.approx((1, 1, 1, 2))
    assert np.isnan(found.misfit_p)
    at_means = law([1.0, 2.0, 4.0], 2 * x)
    assert at_means.k_high - at_means.k_low > 0.5


def test_planted_exponents_are_covered_and_noise_has_none() -> None:
    """Over 200 draws of five seeds, k = 0.4 and k = 0 lie outside at most 19 times (10 expected)."""
    missed = claimed = bent = 0
    for seed in range(200):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.1, (3, 5)))
        found = law(X, 3 * np.array(X)[:, None] ** 0.4 * noise)
        missed += not found.k_low <= 0.4 <= found.k_high
        bent += found.misfit_p < 0.05
        none = law(X, 3 * noise)
        claimed += not none.k_low <= 0 <= none.k_high
    assert missed <= 19
    assert claimed <= 19
    assert bent <= 19


def test_what_is_no_power_law_is_called_a_misfit() -> None:
    noise = np.exp(np.random.default_rng(0).normal(0, 0.02, (4, 5)))
    assert law([1, 2, 4, 8], np.array([1, 2, 2.1, 2.15])[:, None] * noise).misfit_p < 0.001


def test_predictions_hold_as_often_as_they_say() -> None:
    """Three sizes of three seeds predict the mean of three seeds at a fourth: missed at most 19 times in 200 draws."""
    missed = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        found = law(X, 3 * np.array(X)[:, None] ** 0.4 * np.exp(random.normal(0, 0.1, (3, 3))))
        told = predict(found, 5.8, 3)
        seen = 3 * 5.8**0.4 * np.exp(random.normal(0, 0.1, 3).mean())
        missed += not told.low <= seen <= told.high
    assert missed <= 19


def test_a_law_that_does_not_go_on_is_caught_by_its_prediction() -> None:
    random = np.random.default_rng(0)
    told = predict(law(X, np.array(X)[:, None] ** 0.4 * np.exp(random.normal(0, 0.02, (3, 5)))), 5.8, 5)
    assert not told.low <= 1.3**0.4 <= told.high  # it stays as at the largest size


def test_a_floor_is_found_from_six_sizes_on() -> None:
    x = list(np.geomspace(0.1, 30, 7))
    y = 2 + 0.5 * np.array(x)[:, None] ** -0.6 + np.random.default_rng(0).normal(0, 0.003, (7, 5))
    found = shifted_law(x, y)
    assert isinstance(found, Law)
    assert found.floor_low < 2 < found.floor_high
    assert found.k_low < 0.6 < found.k_high
    assert found.c == pytest.approx(0.5, rel=0.05)
    assert found.floor_high - found.floor_low < 0.1
    assert shifted_law(x[:5], y[:5]) == "needs 6 different values or more of x: there are 5; run at more"


def test_why_there_is_no_law() -> None:
    assert power_law([1, 1], np.ones((2, 5))) == "needs 2 different values or more of x: there is 1; run at more"
    assert power_law([0, 1], np.ones((2, 5))) == "x holds values that are not positive, which have no logarithm"
    assert power_law([1, 2], np.array([[1, -1], [1, 0]])) == ("2 of 4 values are not positive, which have no logarithm")
    with pytest.raises(ValueError, match="fewer than two seeds"):
        predict(law([1, 2], np.ones((2, 1))), 3, 1)


def test_without_any_x_there_is_no_law() -> None:
    """All seeds lack a value, or all x are 0: nothing is fitted, and why is said."""
    assert power_law([], np.zeros((0, 0))) == "needs 2 different values or more of x: there is none; run at more"
