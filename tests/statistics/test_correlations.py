"""What goes together is found; two curves that both rise, or are rough in time, do not go together for that."""

import numpy as np
import pytest
from scipy import stats

from ontogeny.statistics.correlations import compare_arms, correlation_along_run, correlation_over_runs

STEP = np.arange(41) * 5


def rough(random: np.random.Generator, n: int, correlation: float) -> np.ndarray:
    """An AR(1) series."""
    shocks = random.normal(0, 1, n + 50)
    for i in range(1, len(shocks)):
        shocks[i] += correlation * shocks[i - 1]
    return shocks[50:]


def test_what_moves_together_is_found() -> None:
    found = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        shared = rough(random, 40, 0.3)
        both = [np.cumsum([0, *(shared + random.normal(0, 0.5, 40))]) for _ in range(2)]
        result = correlation_along_run(STEP, both[0][None], both[1])
        found += result["p"][0] < 0.05 and result["r"][0] > 0.5
    assert found >= 18


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_independent_curves_do_not_go_together(correlation: float) -> None:
    """Both rise, fast at first; their rates are noise with neighbours alike; four rows are looked at. 200 draws at 5%:
    10 expected, 18 or more have a probability of 1.2%; without taking the trend off nearly all would be claimed.
    """
    claims, raw = 0, []
    for seed in range(200):
        random = np.random.default_rng(seed)
        rise = 8 / (1 + STEP[1:] / 20)
        curves = [np.cumsum([0, *(rise + rough(random, 40, correlation))]) for _ in range(5)]
        found = correlation_along_run(STEP, np.array(curves[:4]), curves[4])
        claims += min(found.get("p", [1.0])) < 0.05
        raw += [found["raw"][0]] if found["assessable"] else []
    assert claims <= 17
    assert len(raw) >= 180  # the others: fewer than 12 independent intervals
    assert np.mean(raw) > 0.3


@pytest.mark.parametrize(("count", "correlation"), [(40, 0.9), (80, 0.9)])
def test_rates_that_wander_do_not_go_together(count: int, correlation: float) -> None:
    """Five rows; shifts alone claim in a tenth and more. 100 draws at 5%: 11 or more have a probability of 1.1%."""
    claims, step = 0, np.arange(count + 1) * 5
    for seed in range(100):
        random = np.random.default_rng(seed)
        curves = [np.cumsum([0, *rough(random, count, correlation)]) for _ in range(6)]
        claims += min(correlation_along_run(step, np.array(curves[:5]), curves[5]).get("p", [1.0])) < 0.05
    assert claims <= 10


def test_few_checkpoints_and_standing_still_are_said() -> None:
    assert (
        correlation_along_run(STEP[:20], np.ones((1, 20)), np.arange(20.0))["lacks"]
        == "33 common checkpoints or more: there are 20; measure both more often"
    )
    assert not correlation_along_run(STEP, np.zeros((1, 41)), np.random.default_rng(0).normal(size=41))["assessable"]


def test_fisher_s_interval_is_scipy_s() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=12)
    y = x + random.normal(size=12)
    found, expected = correlation_over_runs(list(x), list(y)), stats.pearsonr(x, y)
    low, high = expected.confidence_interval()
    assert (found.r, found.low, found.high) == pytest.approx((expected.statistic, low, high), abs=1e-6)


def test_a_correlation_that_vanishes_with_replay() -> None:
    """r near 0.95 without, 0 with: z by hand from both, p far below 0.05. The same arm twice: z = 0."""
    random = np.random.default_rng(0)
    x = random.normal(size=20)
    without = list(zip(x, x + 0.3 * random.normal(size=20), strict=True))
    with_replay = list(zip(x, random.normal(size=20), strict=True))
    found = compare_arms({"with replay": with_replay, "without replay": without})
    one, other = found["arms"].values()
    assert found["z"] == pytest.approx((np.arctanh(one.r) - np.arctanh(other.r)) / np.sqrt(2 / 17))
    assert found["p"] < 0.001
    assert compare_arms({"a": without, "b": without})["z"] == 0


def test_four_runs_are_too_few() -> None:
    assert np.isnan(correlation_over_runs([1, 2, 3, 4], [1, 2, 3, 5]).r)


def test_runs_whose_loss_is_no_number_are_left_out() -> None:
    """Six runs, one diverged: r of the other five, as without it."""
    x, y = [1.0, 2, 3, 4, 5, 6], [1.0, 2, 4, 3, 5, float("nan")]
    found, without = correlation_over_runs(x, y), correlation_over_runs(x[:5], y[:5])
    assert (found.n, found.left_out, without.left_out) == (5, 1, 0)
    assert found.r == without.r == pytest.approx(0.9)  # Spearman and Pearson alike: 1 - 6 x 2 / (5 x 24)
