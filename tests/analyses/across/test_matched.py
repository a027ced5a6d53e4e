"""Arms compared at the same loss of new text: by hand, with a planted difference, and with none."""

import numpy as np
import pytest

from ontogeny.analyses.across.matched import Matched, MatchedArms, Trajectory, matched, read_at
from ontogeny.core.errors import StoreError
from tests.analyses.across.outcomes import curves, outcome


def path(new: list[float], general: list[float]) -> Trajectory:
    return Trajectory(steps=10.0 * np.arange(len(new)), new=np.array(new), general=np.array(general))


def test_read_by_hand() -> None:
    """5, 4, 4.2, 3: 3.6 is first met half way from 4.2 to 3, so at step 25; general is then half way from 3 to 4."""
    run = path([5, 4, 4.2, 3], [2, 2.5, 3, 4])
    assert read_at(run, 3.6) == pytest.approx((25, 3.5))
    assert read_at(run, 4.0) == (10, 2.5)
    assert read_at(run, 5.0) == (0, 2)


def last(first: list[Trajectory], second: list[Trajectory]) -> Matched:
    """At the whole of the way."""
    found = matched(first, second)[-1]
    assert isinstance(found, Matched)
    return found


def test_two_arms_by_hand() -> None:
    """The first arm ends at 4, the second at 2; 4 is what both reached. There the first has 3.0, the second, after half
    its way, 2.2 and 2.4 above 2: differences -0.8 and -0.6, mean -0.7, error 0.1, t(0.975, 1) = 12.706."""
    first = [path([6, 4], [2, 3])] * 2
    second = [path([6, 2], [2, 2.4]), path([6, 2], [2, 2.8])]
    found = last(first, second)
    assert (found.level, found.n, found.claims) == (4, 2, False)
    assert (found.value, found.low, found.high) == pytest.approx((-0.7, -0.7 - 1.2706, -0.7 + 1.2706), abs=1e-4)
    assert found.steps == (10, 5)


def arms(cost: float, seed: int) -> tuple[list[Trajectory], list[Trajectory]]:
    """The second arm goes half as far and pays `cost` times as much for each nat; five seeds, with noise."""
    random = np.random.default_rng(seed)

    def arm(length: int, price: float) -> list[Trajectory]:
        gain = np.linspace(0, 0.1 * length, length)
        return [path((5 - gain).tolist(), (4 + price * gain + random.normal(0, 0.01)).tolist()) for _ in range(5)]

    return arm(20, 0.2), arm(10, 0.2 * cost)


def test_a_dearer_way_is_found_and_the_same_way_is_not() -> None:
    """The common level is 1 nat below the start: 0.2 against 0.3. The final losses would say the opposite."""
    first, second = arms(1.5, 0)
    assert np.mean([run.general[-1] for run in second]) < np.mean([run.general[-1] for run in first])
    found = last(first, second)
    assert found.low < 0.1 < found.high
    assert found.p < 0.001
    claimed = 0
    for seed in range(200):
        claimed += last(*arms(1.0, seed)).p < 0.05
    assert claimed <= 19  # 10 expected, 20 or more have a probability of 0.3%


def test_levels_by_hand() -> None:
    """From 6 the common way leads to 4: a quarter is 5.5, half 5. General text rises by 0.5 for each nat in the first
    arm, by 0.1 in the second: at 5.5, 0.05 - 0.25. Not assessable: a level that is not reached, or above a start."""
    first, second = [path([6, 4], [2, 3])] * 2, [path([6, 2], [2, 2.4])] * 2
    found = matched(first, second)
    assert [one.level for one in found if isinstance(one, Matched)] == [5.5, 5, 4]
    assert isinstance(found[0], Matched)
    assert found[0].value == pytest.approx(0.05 - 0.25)
    below, above, there = matched(first, second, [3.9, 6.0, 5.0])
    assert below == "not all runs reached a loss of 3.9000; 4.0000 they did"
    assert above == "a run starts at a loss of 6.0000, below 6.0000"
    assert isinstance(there, Matched)
    assert there.level == 5


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_losses_that_are_not_finite_are_not_assessable(broken: float) -> None:
    good = [path([6, 4], [2, 3])] * 2
    assert matched(good, [path([6, 4], [2, broken])] * 2) == ["a loss is not finite: leave out what diverged"]
    assert matched([path([6, broken, 4], [2, 2, 3])] * 2, good, [5.0]) == [
        "a loss is not finite: leave out what diverged"
    ]


def test_what_learned_nothing_cannot_be_matched() -> None:
    nothing = matched([path([5, 5.1], [2, 3])] * 2, [path([5, 4], [2, 3])] * 2)
    assert nothing == ["no level below the start that all runs reached: train longer"]
    assert matched([path([5, 4], [2, 3])], [path([5, 4], [2, 3])]) == [
        "fewer than two seeds in common: run both with the same seeds"
    ]
    assert matched([path([5, 4], [2, 3])] * 2, [path([5, 4], [2, 3])] * 3) == [
        "fewer than two seeds in common: run both with the same seeds"
    ]


def test_arms_are_compared_in_words() -> None:
    """a ends at 2 with a general loss of 3; b passes 2 half way from 3 to 1, at step 7.5, with 5: +2."""
    a, b = curves([4, 3, 2], [2, 2, 3]), curves([4, 3, 1], [2, 4, 6])
    table = [outcome({"way": way}, seed, run) for way, run in (("a", a), ("b", b)) for seed in range(2)]
    result = MatchedArms().judge(table)
    (said,) = result.sentences
    assert "way=b: +2.0000 (+2.0000 to +2.0000), p < 0.0001, n = 2, at a loss of 2.0000" in said
    assert "reached after 7.5 steps, there after 10.0; fewer than 5 seeds: no claim" in said
    assert result.verdict == "general losses at the same loss of new text as way=a: fewer than 5 seeds: no claim"
    heading, first, second = MatchedArms(levels=(3.0, 1.5)).judge(table).sentences[0].splitlines()
    assert "over 2: levels x configurations" in heading
    assert first.startswith("  way=b: +2.0000 (+2.0000 to +2.0000)")
    assert "at a loss of 3.0000" in first
    assert second == "  way=b: not assessable: not all runs reached a loss of 1.5000; 2.0000 they did"
    same = [outcome({"way": way}, seed, curves([4, 4, 4], [2, 2, 2])) for way in "ab" for seed in range(2)]
    assert MatchedArms().judge(same).verdict == (
        "not assessable: no level below the start that all runs reached: train longer"
    )
    with pytest.raises(StoreError, match="lacks losses of new and of general text in way=a 0"):
        MatchedArms().judge([outcome({"way": "a"}, 0, None)])
    with pytest.raises(StoreError, match="lacks two configurations"):
        MatchedArms().judge(table[:2])


def test_five_seeds_claim() -> None:
    """General text rises by 0.1 in a, by 0.2 in b, where both have learned the same; or by 0.1 in both."""
    random = np.random.default_rng(0)
    for price, verdict in (
        (0.2, "general loss differs at the same loss of new text as way=a: way=b (+0.1"),
        (0.1, "no "),
    ):
        table = [
            outcome({"way": way}, seed, curves([4, 3, 2], [2, 2 + rise / 2, 2 + rise + random.normal(0, 0.001)]))
            for way, rise in (("a", 0.1), ("b", price))
            for seed in range(5)
        ]
        assert MatchedArms(levels=(2.0,)).judge(table).verdict.startswith(verdict)
