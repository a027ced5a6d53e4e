"""The smallest share of replay that is enough, by hand and planted."""

import numpy as np
import pytest

from ontogeny.analyses.across.least_share import LeastReplay, least_share
from ontogeny.core.errors import StoreError
from tests.analyses.across.outcomes import curves, outcome


def test_by_hand() -> None:
    """Means 0.06, 0.03, 0.01 at 0, 0.2, 0.6; 0.02 lies half way between the last two: 0.2 + 0.4 / 2 = 0.4.

    Two seeds that differ by 0.0002 everywhere: error 0.0001, t(0.975, 1) = 12.706, half width 0.0012706, so that the
    intervals of 0.2 and 0.6 leave out 0.02. With 0.002 (half width 0.012706) they do not, but that of 0 does.
    """
    rises = np.array([0.06, 0.03, 0.01])[:, None] + np.array([0.0001, -0.0001])
    found = least_share([0, 0.2, 0.6], rises, 0.02)
    assert (found.between, found.sure, found.line) == ((0.2, 0.6), (0.2, 0.6), pytest.approx(0.4))
    assert found.words == (
        "between 0.2 and 0.6 (95%: between 0.2 and 0.6); on a straight line 0.4; fewer than 5 seeds: no claim"
    )
    rises = np.array([0.06, 0.03, 0.01])[:, None] + np.array([0.001, -0.001])
    assert least_share([0, 0.2, 0.6], rises, 0.02).words.startswith("between 0.2 and 0.6 (95%: more than 0);")


def test_none_of_those_tested_and_the_smallest() -> None:
    noise = np.array([-0.001, -0.0005, 0.0, 0.0005, 0.001])
    never = least_share([0.05, 0.5], np.array([0.3, 0.2])[:, None] + noise, 0.02)
    assert np.isnan(never.line)
    assert never.words == "none of those tested (up to 0.5)"
    always = least_share([0.05, 0.5], np.array([0.01, 0.0])[:, None] + noise, 0.02)
    assert always.words == "at most 0.05 (95%: at most 0.05)"
    # Mean 0.03 at the last, but one seed of three is far below: 0.03 - 4.303 x 0.02 / sqrt(3) < 0.02.
    unsure = least_share([0.05, 0.5], np.array([[0.3, 0.3, 0.3], [0.01, 0.03, 0.05]]), 0.02)
    assert unsure.words.startswith("none of those tested (up to 0.5); by the interval it might be more than 0.05; few")


def test_one_seed_and_a_loss_that_is_not_finite() -> None:
    one = least_share([0, 0.5], np.array([[0.1], [0.0]]), 0.02)
    assert one.words == "between 0 and 0.5; on a straight line 0.4; one seed: no interval, no claim"
    broken = least_share([0, 0.5], np.array([[0.1, np.nan, 0.1], [0.0, 0.01, 0.0]]), 0.02)
    assert broken.words == "not assessable: a loss is not finite at 0: leave out what diverged"


@pytest.mark.parametrize("bend", [0.2, 1.0, 5.0])
def test_a_planted_share_is_covered_however_the_curve_bends(bend: float) -> None:
    """Rise 0.1 (1 - share^bend): concave, straight, convex. It meets 0.02 at 0.8^(1 / bend), which a straight line
    misses by far; the gap has it in at least 95% of 200 draws of five seeds (20 misses or more: 0.3%)."""
    shares = np.array([0.0, 0.25, 0.5, 1.0])
    truth = 0.8 ** (1 / bend)
    missed = 0
    for draw in range(200):
        rises = 0.1 * (1 - shares**bend)[:, None] + np.random.default_rng(draw).normal(0, 0.01, (4, 5))
        low, high = least_share(shares.tolist(), rises, 0.02).sure
        missed += not (np.isnan(low) or low < truth) or not (np.isnan(high) or truth <= high)
    assert missed < 20


def test_a_straight_line_misleads_where_the_gap_does_not() -> None:
    """A rise that falls steeply at first and meets 0.02 at 0.54: the line says more than 0.9."""
    shares, k = [0.25, 1.0], 12.0
    rises = 0.02 + 0.03 * (np.exp(-k * (np.array(shares) - 0.25)) - np.exp(-k * 0.29))[:, None] * np.ones(5)
    rises = rises + np.array([-1, -0.5, 0, 0.5, 1]) * 1e-5
    found = least_share(shares, rises, 0.02)
    assert found.line > 0.9
    assert found.sure == (0.25, 1.0)
    assert found.sure[0] < 0.54 < found.sure[1]


def test_noise_alone_has_none() -> None:
    """Where replay does nothing, no share is named."""
    for draw in range(200):
        noise = np.random.default_rng(draw).normal(0, 0.01, (4, 5))
        assert np.isnan(least_share([0.0, 0.25, 0.5, 0.75], 0.1 + noise, 0.02).between[1])


def test_how_much_replay_is_enough_in_words() -> None:
    """At rate 1 general text rises by 6%, 3%, 1% at shares 0, 0.5, 1: 2% lies at 0.75. At rate 2 it never comes down.

    New text falls from 4 to 3.6 in 10 steps at share 0: a tenth, 1% a step.
    """
    table = [
        outcome({"train.lr": lr, "data.replay.old.share": share}, seed, curves([4, 4, 3.6], [1, 1, 1 + rise]))
        for lr, rises in (("1", (0.06, 0.03, 0.01)), ("2", (0.3, 0.2, 0.1)))
        for share, rise in zip(("0", "0.5", "1.0"), rises, strict=True)
        for seed in range(2)
    ]
    (said,) = LeastReplay().judge(table).sentences
    assert said.startswith("The smallest data.replay.old.share with general text at most 2% up at the end:\n")
    assert "train.lr=1: between 0.5 and 1 (95%: between 0.5 and 1); on a straight line 0.75; fewer than 5" in said
    assert "no claim; new text falls by 1.000% a step at 0\n" in said
    assert "train.lr=2: none of those tested (up to 1); fewer than 5 seeds: no claim; new text" in said
    alone = LeastReplay(bound=0.05).judge([run for run in table if run.levels["train.lr"] == "1"])
    assert alone.verdict.startswith(
        "the smallest data.replay.old.share with general text at most 5% up: between 0 and 0.5"
    )
    with pytest.raises(StoreError, match="lacks different replayed shares"):
        LeastReplay().judge([outcome({"train.lr": "1"}, 0, curves([4, 4, 3], [1, 1, 1]))])
