"""Where two logs part: planted partings, and none where there is none."""

import numpy as np
import pytest

from benchmarks.faults._clean import autocorrelated
from ontogeny.diagnosis.compare import Compared, compare
from tests.diagnosis.curves import Curve, history

STEPS = range(1, 501)
LEVEL = 2 + 2 * np.exp(-np.arange(500) / 120)


def loss(one: Curve, other: Curve) -> Compared:
    (found,) = compare(history(loss=one), history(loss=other))
    return found


def noise(seed: int, coefficient: float = 0.5) -> np.ndarray:
    return autocorrelated(np.random.default_rng(seed), 500, 0.03, coefficient)


def test_equal_is_equal_in_every_bit() -> None:
    assert loss((STEPS, LEVEL), (STEPS, LEVEL)).equal
    last_bit = LEVEL.copy()
    last_bit[250] = np.nextafter(last_bit[250], 9)
    assert not loss((STEPS, LEVEL), (STEPS, last_bit)).equal


@pytest.mark.parametrize("coefficient", [0.0, 0.5, 0.9])
def test_two_seeds_do_not_part(coefficient: float) -> None:
    """Fifty pairs that differ in their noise alone. 5% of them may seem to part; more than that is a defect."""
    parted = [
        loss((STEPS, LEVEL + noise(2 * i, coefficient)), (STEPS, LEVEL + noise(2 * i + 1, coefficient))).parted_at
        for i in range(50)
    ]
    assert sum(one is not None for one in parted) <= 2


def test_a_planted_parting_is_found_where_it_is() -> None:
    """From step 251 on the second stands 0.2 higher, seven times the noise; 20 pairs, each within 5% of the log."""
    lift = 0.2 * (np.arange(500) >= 250)
    for i in range(20):
        found = loss((STEPS, LEVEL + noise(2 * i)), (STEPS, LEVEL + noise(2 * i + 1) + lift))
        assert found.parted_at is not None
        assert abs(found.parted_at - 251) <= 25


def test_the_difference_at_the_end_is_covered() -> None:
    """An interval of 95% covers the true difference of 0.2 in at least 85% of 60 draws (binomial: 51 of 60 or more)."""
    covered = 0
    for i in range(60):
        final = loss((STEPS, LEVEL + noise(2 * i)), (STEPS, LEVEL + 0.2 + noise(2 * i + 1))).final
        covered += final.low <= 0.2 <= final.high
    assert covered >= 51


def test_a_difference_that_ends_is_no_parting() -> None:
    lift = 0.5 * ((np.arange(500) >= 100) & (np.arange(500) < 200))
    assert loss((STEPS, LEVEL + noise(0)), (STEPS, LEVEL + noise(1) + lift)).parted_at is None


def test_common_spikes_are_told_from_ones_own() -> None:
    """Both leap by 1 at step 301 (the data); the second alone at step 401."""
    spike = np.zeros(500)
    spike[300] = 1
    own = spike.copy()
    own[400] = 1
    found = loss((STEPS, LEVEL + noise(0) + spike), (STEPS, LEVEL + noise(1) + own))
    assert found.common_spikes == (301,)
    assert found.own_spikes == ((), (401,))


def test_noise_has_no_spikes() -> None:
    found = loss((STEPS, LEVEL + noise(0)), (STEPS, LEVEL + noise(1)))
    assert found.common_spikes == ()
    assert found.own_spikes == ((), ())


def test_a_coarser_log_is_compared_at_its_own_steps() -> None:
    """Steps 7, 17, … are not among 10, 20, …: the finer one is interpolated, which is exact on a straight line."""
    line = np.arange(10, 5001, 10)
    one = (line.tolist(), (5 - line / 1000).tolist())
    coarse = np.arange(107, 4900, 400)
    found = loss(one, (coarse.tolist(), (5 - coarse / 1000).tolist()))
    assert found.interpolated
    assert found.steps == len(coarse)
    assert abs(found.final.value) < 1e-9
