"""Statistics for short, noisy curves: by hand, and by simulation where a rate is promised."""

import numpy as np
import pytest

from benchmarks.faults._clean import autocorrelated
from ontogeny.statistics import robust
from tests.cpu_time import cpu_seconds


def test_spread_of_known_numbers() -> None:
    # median 3, absolute deviations 2 1 0 1 97: median 1; 1.4826 x 1
    assert robust.spread(np.array([1.0, 2.0, 3.0, 4.0, 100.0])) == pytest.approx(1.4826)


def test_noise_drops_a_straight_trend_and_estimates_the_rest() -> None:
    assert robust.noise(np.arange(50.0)) == 0
    values = np.linspace(5, 1, 20_000) + np.random.default_rng(0).normal(0, 0.2, 20_000)
    assert robust.noise(values) == pytest.approx(0.2, rel=0.05)


def test_before_looks_back_only() -> None:
    # of 1 2 3 | 10: median of the three before the fourth is 2, deviations 1 0 1, their median 1
    middle, width = robust.before(np.array([1.0, 2.0, 3.0, 10.0]), 3)
    assert np.isnan(middle[:3]).all()
    assert middle[3] == 2
    assert width[3] == pytest.approx(1.4826)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_intervals_of_a_mean_cover_it(rho: float) -> None:
    """95% intervals over 400 draws of 200 values; the truth is 0. 95% +- 3 sd is 0.917 to 0.983; a little less is known
    of the autocorrelation time, so 0.88 is asked."""
    covered = 0
    for draw in range(400):
        found = robust.geyer_mean(autocorrelated(np.random.default_rng(draw), 200, 1.0, rho))
        covered += found.low <= 0 <= found.high
    assert 0.88 <= covered / 400 <= 0.985


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_trend_of_noise_is_rarely_significant_and_a_planted_one_is(rho: float) -> None:
    """Promised 5% of noise; at most 10% asked of 300 draws with an estimated autocorrelation time."""
    steps, wrong, found = np.arange(100), 0, 0
    for draw in range(300):
        noise = autocorrelated(np.random.default_rng(draw), 100, 1.0, rho)
        flat, falling = robust.trend(steps, noise), robust.trend(steps, noise - 4 * steps / 99)
        wrong += not flat.low <= 0 <= flat.high
        found += falling.high < 0
    assert wrong / 300 <= 0.10
    assert found / 300 >= 0.95


def test_changes_of_two_random_walks_do_not_correlate() -> None:
    """Levels of random walks correlate strongly; the intervals on their changes hold 0 in 95% of 300 draws."""
    wrong = 0
    for draw in range(300):
        rng = np.random.default_rng(draw)
        one, other = rng.normal(size=30).cumsum(), rng.normal(size=30).cumsum()
        found = robust.change_correlation(one, other)
        wrong += not found.low <= 0 <= found.high
    assert 0.01 <= wrong / 300 <= 0.09
    walk = np.random.default_rng(0).normal(size=30).cumsum()
    assert robust.change_correlation(walk, 2 * walk).low > 0.9


def test_ranks_average_ties() -> None:
    assert robust.ranks(np.array([3.0, 1.0, 3.0])).tolist() == [1.5, 0.0, 1.5]


def test_interval_of_a_mean_by_hand() -> None:
    """1 3 1 3: mean 2, variance 1 about it, / (1 - 1/4) = 4/3; Student's 97.5% for 3 degrees : ours 3.316.

    Half the interval is 3.316 * sqrt(4/3 / 4) = 1.914. Exact Student: 3.182, so ours is 4% wide.
    """
    found = robust.geyer_mean(np.array([1.0, 3.0, 1.0, 3.0]))
    assert found.value == 2
    assert found.high - 2 == pytest.approx(1.914, abs=0.001)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_interval_of_a_mean_covers_what_it_promises(rho: float) -> None:
    """200 draws of 200 points: at 95%, at least 178 cover (binomial, 99.9%); uncorrected, 0.5 covers 75%."""
    intervals = [robust.geyer_mean(autocorrelated(np.random.default_rng(i), 200, 1.0, rho)) for i in range(200)]
    assert sum(one.low <= 0 <= one.high for one in intervals) >= 178


def test_a_wide_running_median_is_that_of_every_kth_value() -> None:
    """n = 20,010, window 4,001: k = 4. A straight line is its own median but for the ends, and noise is smoothed."""
    line = np.arange(20_010.0)
    inner = slice(2_100, -2_100)
    assert np.abs(robust.smooth(line, 4_001) - line)[inner].max() < 1e-6
    noisy = np.sin(line / 20_010) + np.random.default_rng(0).normal(0, 0.1, len(line))
    windows = np.lib.stride_tricks.sliding_window_view(noisy, 4_001)[::500]
    exact = np.median(windows, axis=1)
    near = robust.smooth(noisy, 4_001)[2_000:-2_000][::500]
    # The median of 1,001 normal values has a standard error of 1.25 x 0.1 / sqrt(1001) = 0.004; 5 of these.
    assert np.abs(near - exact).max() < 0.02


def test_a_wide_running_median_takes_linear_work() -> None:
    """Ten times the values, and as wide a window in proportion: 100 times the work if each window were looked at."""
    short, long = np.random.default_rng(1).normal(size=(2, 100_000))
    spent = cpu_seconds(lambda: robust.smooth(np.concatenate([short, long]), 40_001))
    assert spent < 5  # measured: 0.2; with whole windows 200,000 x 40,001 values, minutes
