"""The front of configurations: hypervolume by hand, ties, and choices that do not profit from noise."""

import numpy as np
import pytest

from ontogeny.analyses.across.pareto import ParetoFront, crossfitted, directional, hypervolume, non_dominated, pareto
from ontogeny.core.errors import StoreError
from tests.analyses.across.outcomes import curves, outcome

HALVES = ((0, 2, 4), (1, 3))


def test_hypervolume_by_hand() -> None:
    """Reference (4, 4). (1, 3): 3 x 1 = 3. (2, 2) adds below y = 3: 2 x 1 = 2. (3, 1) adds below y = 2: 1 x 1 = 1."""
    points = np.array([[2.0, 2.0], [1.0, 3.0], [3.0, 1.0]])
    assert hypervolume(points, (4, 4)) == 6
    beaten, beyond = [2.5, 2.5], [0.5, 5.0]
    assert hypervolume(np.vstack([points, beaten, beyond, points[:1]]), (4, 4)) == 6
    assert hypervolume(np.zeros((0, 2)), (4, 4)) == 0
    assert hypervolume(np.array([[4.0, 0.0]]), (4, 4)) == 0


def test_the_sum_over_directions_is_the_hypervolume() -> None:
    """Of the same six cells, the best in each direction; and of random points, beside the staircase."""
    points = np.array([[2.0, 2.0], [1.0, 3.0], [3.0, 1.0]])
    assert directional(points, (4, 4)).max(axis=1).sum() == pytest.approx(6, rel=1e-4)
    assert directional(points, (4, 4)).sum(axis=0) == pytest.approx([4, 3, 3], rel=1e-4)  # rectangles alone
    random = np.random.default_rng(0)
    for _ in range(20):
        points = random.uniform(0, 1.5, (12, 2))
        assert directional(points).max(axis=1).sum() == pytest.approx(hypervolume(points), rel=1e-3)


def test_what_is_beaten_is_left_out_and_ties_stay() -> None:
    points = np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0], [1.0, 3.0]])
    # The third is worse than the first in x at equal y; the fifth in y at equal x; first and fourth are equal.
    assert non_dominated(points).tolist() == [True, True, False, True, False]


def test_planted_front() -> None:
    """Three on a front, one plainly behind; half the noise of a step."""
    random = np.random.default_rng(1)
    true = np.array([[0.6, 1.15], [0.75, 1.05], [0.9, 1.0], [0.95, 1.2]])
    new, general = (true[:, i, None] + random.normal(0, 0.01, (4, 5)) for i in (0, 1))
    found = pareto(["a", "b", "c", "d"], new, general)
    assert found is not None
    assert found.claims
    assert (found.front, found.kept, found.halves) == ((0, 1, 2), (0, 1, 2), HALVES)
    # By hand: (1 - 0.6) x 0.1 + (1 - 0.75) x 0.1 + (1 - 0.9) x 0.05 = 0.07
    assert found.held_out.low < 0.07 < found.held_out.high
    assert [one.label for one in found.within] == ["c", "c"]  # the only one within 2%
    assert [one.seeds for one in found.within] == list(HALVES)
    assert found.within[0].new == pytest.approx(new[2, [1, 3]].mean())


def test_choosing_in_noise_gains_nothing_on_other_seeds() -> None:
    """Ten configurations that are one. A box of 0.2 x 0.15 is 0.03 on the seeds that did not choose, in the mean over
    300 draws; on the seeds that did it is larger, and by more than ten standard errors."""
    held_out, same, alone = [], [], []
    for seed in range(300):
        random = np.random.default_rng(seed)
        new, general = 0.8 + random.normal(0, 0.03, (10, 5)), 1.1 + random.normal(0, 0.03, (10, 5))
        found = pareto([str(i) for i in range(10)], new, general)
        assert found is not None
        held_out.append(found.held_out.value)
        same.append(found.same_seeds.value)
        alone.append(directional(np.stack([new, general], axis=-1)[0]).sum(axis=0).mean())
    error = np.std(held_out) / np.sqrt(300)
    assert np.mean(held_out) == pytest.approx(np.mean(alone), abs=3 * (error + np.std(alone) / np.sqrt(300)))
    assert np.mean(held_out) == pytest.approx(0.2 * 0.15, abs=3 * error)
    assert np.mean(same) > 0.03 + 10 * error


def test_a_better_configuration_is_found_and_reported_without_loss() -> None:
    """Rows choose alone: configuration 1 is 1 better. Chosen on either half, reported as it is."""
    values = np.random.default_rng(0).normal(0, 0.1, (1, 3, 5)) + np.array([0, 1, 0])[None, :, None]
    assert np.array_equal(crossfitted(values, HALVES)[0], values[0, 1])


def test_too_little_is_not_assessable() -> None:
    assert pareto(["a"], np.ones((1, 5)), np.ones((1, 5))) is None
    assert pareto(["a", "b"], np.ones((2, 1)), np.ones((2, 1))) is None
    assert pareto(["a", "b"], np.full((2, 5), np.nan), np.ones((2, 5))) is None
    few = pareto(["a", "b"], np.array([[0.5, 0.6], [0.7, 0.8]]), np.ones((2, 2)) * 1.1)
    assert few is not None
    assert not few.claims
    assert [one.label for one in few.within] == [None, None]  # both are 10% up


def test_what_learned_nothing_and_what_it_damaged() -> None:
    """At 1 and 1.02 of the start with general text up a tenth: damage without progress. The other one learned."""
    table = [
        outcome({"way": way}, seed, curves([1, 1, new], [1, 1, general]))
        for way, news, general in (("idle", (1.0, 1.02), 1.1), ("good", (0.8, 0.81), 1.0))
        for seed, new in enumerate(news)
    ]
    result = ParetoFront().judge(table)
    (said,) = [one for one in result.sentences if one.startswith("Learned nothing of the new text")]
    _, idle = said.splitlines()
    assert idle == "  way=idle: new 1.0100 (0.8829 to 1.1371), general 1.1000 (1.1000 to 1.1000), up"
    assert result.numbers["without_progress"] == ["way=idle"]
    assert result.verdict == "1 of 2 configurations are non-dominated, 2 seeds: fewer than 5 seeds: no claim"
    with pytest.raises(StoreError, match="of every configuration with the same seeds"):
        ParetoFront().judge(table[:3])


def test_damage_is_corrected_over_what_learned_nothing() -> None:
    """Rises of 0.9, 1.4, 0.1, 1.9 and 1.2%: mean 1.1, sd 0.6671, error 0.2983, t(4) = 3.687, p = 0.0211. Alone that is
    below 0.05; three times as much is not.
    """

    def said(ways: int) -> str:
        rises = (0.009, 0.014, 0.001, 0.019, 0.012)
        table = [
            outcome({"way": str(way)}, seed, curves([1, 1, 1], [1, 1, 1 + (rise if way == 0 else 0.0)]))
            for way in range(ways)
            for seed, rise in enumerate(rises)
        ]
        table += [outcome({"way": "good"}, seed, curves([1, 1, 0.5 + seed / 100], [1, 1, 1])) for seed in range(5)]
        (idle,) = [one for one in ParetoFront().judge(table).sentences if one.startswith("Learned nothing")]
        return next(line for line in idle.splitlines() if "way=0:" in line)

    assert said(1).endswith(", up")
    assert said(3).endswith("neither up nor down beyond chance")


def test_the_held_out_hypervolume_allows_for_halves_that_chose_for_each_other() -> None:
    """One configuration beats the other everywhere. Its areas: 0.1 x 0.25 and 0.2 x 0.25, mean 0.0375, error 0.0125;
    t(0.975, 1) = 12.7062: half 0.158828, times the square root of 2 0.224616.
    """
    front = pareto(["a", "b"], np.array([[0.9, 0.8], [0.95, 0.95]]), np.array([[1.0, 1.0], [1.1, 1.1]]))
    assert front is not None
    assert front.held_out.value == pytest.approx(0.0375, rel=1e-3)
    assert front.held_out.high - front.held_out.value == pytest.approx(0.224616, rel=1e-3)
    assert front.same_seeds.high - front.same_seeds.value == pytest.approx(0.158828, rel=1e-3)


def test_the_rate_of_decay_against_what_is_lost() -> None:
    """New text falls by 1, 2 and 3 of 10 in 10 steps (1%, 2%, 3% a step), general text rises by 2%, 4%, 6%: 0.2% for
    each 0.1%. With replay it does not rise at all. Two seeds that are alike leave the interval no width."""
    table = [
        outcome(
            {"train.lr": str(rate), "data.replay.old.share": share},
            seed,
            curves([10, 10, 10 - rate], [1, 1, 1 + price * rate]),
        )
        for share, price in (("0", 0.02), ("0.5", 0.0))
        for rate in (1, 2, 3)
        for seed in range(2)
    ]
    said = ParetoFront().judge(table).sentences[-1].splitlines()
    assert said[1] == "  data.replay.old.share=0: +0.200 (+0.200 to +0.200), n = 2; fewer than 5 seeds: no claim"
    assert said[2].startswith("  data.replay.old.share=0.5: ")
    assert "+0.000" in said[2] or "-0.000" in said[2]
