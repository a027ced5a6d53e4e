"""The smallest rate that reaches a decrease: within the rates tried, beyond them, or nowhere."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ontogeny.looking.rate_search import RateSearch


def search(
    gain: Callable[[float], float],
    lowest: float,
    highest: float,
    targets: Sequence[float],
    refine: int = 8,
    count: int = 5,
) -> tuple[RateSearch, list[float]]:
    """The search over a grid, and the rates at which it measured beyond the grid."""
    more: list[float] = []

    def measured(rate: float) -> float:
        more.append(rate)
        return gain(rate)

    rates = np.geomspace(lowest, highest, count)
    return RateSearch(measured, rates, np.array([gain(rate) for rate in rates]), targets=targets, refine=refine), more


def hill(rate: float) -> float:
    """A decrease of 1 at a rate of 0.02, falling off with the square of the logarithm."""
    return float(1 - np.log(rate / 0.02) ** 2 / 4)


def step(rate: float) -> float:
    """A decrease of 20 rate - 500 rate^2: 0 at 0 and at 0.04, at most 0.2, at 0.02."""
    return 20 * rate - 500 * rate**2


def test_a_peak_between_the_rates_is_found_before_a_target_is_out_of_reach() -> None:
    """Of the rates 0.01 and 0.1, the first comes to 1 - 0.693^2 / 4 = 0.88: 0.95 lies above it, and is first reached at
    0.02 exp(-2 sqrt(0.05)) = 0.0128.
    """
    made, _ = search(hill, 1e-4, 1, (0.95,))
    assert made.best[1] == pytest.approx(1, abs=0.002)
    assert made.best[0] == pytest.approx(0.02, rel=0.1)
    assert made.reach(0.95)[0] == pytest.approx(0.0128, rel=0.02)


def test_what_lies_within_the_rates_needs_no_other() -> None:
    """0.1 = 20 r - 500 r^2 at r = 0.02 - sqrt(0.0002) = 0.005858: bisected, and nothing beyond the grid is measured."""
    made, more = search(step, 1e-5, 0.1, (0.1,))
    assert more == []
    rate, reached = made.reach(0.1)
    assert rate == pytest.approx(0.005858, rel=0.02)
    assert reached == pytest.approx(0.1, rel=0.02)
    assert reached >= 0.1


def test_a_target_above_the_highest_rate_is_looked_for_there() -> None:
    """The decrease grows up to 1e-4, where it is 0.002: 0.1 lies at 0.005858, some way above."""
    made, more = search(step, 1e-6, 1e-4, (0.1,))
    assert made.reach(0.1)[0] == pytest.approx(0.005858, rel=0.02)
    assert min(more) > 1e-4


def test_beyond_the_highest_rate_a_target_can_be_out_of_reach() -> None:
    """At most 0.2 at 0.02, whatever the rate: once the decrease has fallen again, no higher rate is tried."""
    made, more = search(step, 1e-6, 1e-4, (0.5,))
    rate, reached = made.reach(0.5)
    assert np.isnan([rate, reached]).all()
    assert made.best == (pytest.approx(0.02, rel=0.1), pytest.approx(0.2, rel=0.01))
    assert max(more) < 0.04 * np.sqrt(10)  # the grid's spacing: one beyond the peak


def test_an_end_of_the_search_is_no_infeasibility() -> None:
    """Up to 1e-9 the decrease grows; a thousand times that, 1e-6, is the bound, and 0.1 lies far above."""
    made, more = search(step, 1e-10, 1e-9, (0.1,))
    assert made.reach(0.1) == (np.inf, pytest.approx(np.nan, nan_ok=True))
    assert max(more) <= 1.001e-6
    assert made.best[0] == pytest.approx(max(more))


def test_a_target_below_the_lowest_rate_is_looked_for_there() -> None:
    """At 0.03, the lowest, the decrease is 0.15 and falls with the rate; 0.19 is first reached at 0.02 - sqrt(2e-5)
    = 0.01553. And 0.12 is reached at 0.03 already, but first at 0.02 - sqrt(0.00016) = 0.00735.
    """
    for target, rate in ((0.19, 0.01553), (0.12, 0.00735)):
        made, more = search(step, 0.03, 0.3, (target,))
        assert made.reach(target)[0] == pytest.approx(rate, rel=0.02)
        assert max(more) < 0.03


def test_an_increase_is_always_reached_by_a_higher_rate() -> None:
    """-0.5 = 20 r - 500 r^2 at r = 0.02 + sqrt(0.0014) = 0.05742."""
    made, _ = search(step, 1e-4, 0.01, (-0.5,))
    assert made.reach(-0.5)[0] == pytest.approx(0.05742, rel=0.02)
    lower, _ = search(step, 0.1, 1.0, (-0.5,))
    assert lower.reach(-0.5)[0] == pytest.approx(0.05742, rel=0.02)


def test_losses_that_are_not_finite_are_left_downwards() -> None:
    finite_below = lambda rate: step(rate) if rate < 0.1 else -np.inf  # noqa: E731
    made, _ = search(finite_below, 1.0, 10.0, (0.1,))
    assert made.reach(0.1)[0] == pytest.approx(0.005858, rel=0.02)
    nowhere, _ = search(lambda rate: -np.inf, 1.0, 10.0, (0.1,))
    assert nowhere.reach(0.1)[0] == 0  # lower rates than a thousandth of the lowest may reach it


def test_a_step_that_helps_at_no_rate_is_out_of_reach() -> None:
    """A loss that rises with every rate, or does not move at all: no edge, and no decrease made of rounding."""
    for gain in (lambda rate: -rate, lambda rate: 0.0, lambda rate: 1e-8 * np.cos(1e9 * rate)):
        made, _ = search(gain, 1e-5, 1e-1, (0.01,))
        assert np.isnan(made.reach(0.01)).all()


def test_a_second_peak_beyond_the_highest_rate_is_looked_for() -> None:
    """Over the logarithm, in straight lines: 0.3 at 1e-3, 0.05 at 1e-2, 0.1 at the highest rate, 0.1; from there to 0.5
    at 1. 0.4 lies three quarters up that line, at 10^-0.25 = 0.562. Where it rises by 0.1 in five decades it is never
    reached within three; where it falls on from 1e-2, nothing is looked for beyond.
    """
    rising = lambda rate: float(np.interp(np.log10(rate), [-5, -3, -2, -1, 0, 1], [0, 0.3, 0.05, 0.1, 0.5, 0]))  # noqa: E731
    slowly = lambda rate: float(np.interp(np.log10(rate), [-5, -3, -2, -1, 4], [0, 0.3, 0.05, 0.1, 0.2]))  # noqa: E731
    falling = lambda rate: float(np.interp(np.log10(rate), [-5, -3, -2, 4], [0, 0.3, 0.05, -0.1]))  # noqa: E731
    made, _ = search(rising, 1e-5, 0.1, (0.4,))
    assert made.reach(0.4)[0] == pytest.approx(0.562, rel=0.02)
    assert search(slowly, 1e-5, 0.1, (0.4,))[0].reach(0.4)[0] == np.inf
    made, more = search(falling, 1e-5, 0.1, (0.4,))
    assert np.isnan(made.reach(0.4)[0])
    assert max(more) < 0.1


def test_a_second_peak_below_the_lowest_rate_is_looked_for() -> None:
    """0.1 at the lowest rate, 0.1, and 0.05 at 1, 0.3 at 10; but 0.5 at 0.01: 0.4 is first reached at 10^-2.2 = 0.0063,
    a fifth of the way from 0 at 1e-3 to 0.5 being 0.1.
    """
    gain = lambda rate: float(np.interp(np.log10(rate), [-3, -2, -1, 0, 1, 2], [0, 0.5, 0.1, 0.05, 0.3, 0]))  # noqa: E731
    made, _ = search(gain, 0.1, 100, (0.4,), count=4)
    assert made.reach(0.4)[0] == pytest.approx(10**-2.2, rel=0.02)
