"""Permutation tests: at their promised rates, and with effects planted."""

import numpy as np
import pytest

from benchmarks.faults._clean import autocorrelated
from ontogeny.statistics.permutations import block_permutation, max_t_of_signs, min_p, permutation_p


def test_p_counts_the_observed_arrangement() -> None:
    """3 of 4 draws reach 2, one reaches 5, none reaches 6: (1 + 3) / 5, (1 + 1) / 5, 1 / 5."""
    p = permutation_p(np.array([2.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0, 5.0]))
    assert p == pytest.approx([0.8, 0.4, 0.2])


def test_min_p_keeps_the_familywise_rate() -> None:
    """60 rows of correlated noise, 200 draws: any p below 0.05 in at most 5%, so at most 19 draws (binomial, 99.7%)."""
    false = 0
    for i in range(200):
        random = np.random.default_rng(i)
        rows = random.normal(size=(60, 24)) + 2 * random.normal(size=24)
        false += min_p(rows, np.arange(24) < 12, random, 199).min() < 0.05
    assert false <= 19


def test_min_p_stands_a_small_group_that_varies_more() -> None:
    """5 documents with three times the spread of 30 others, 8 rows: the largest |t| claims 13% and more. 300 draws at
    5%: 26 or more have a probability of 0.5%.
    """
    false = 0
    for i in range(300):
        rows = np.random.default_rng(i).normal(size=(8, 35))
        rows[:, :5] *= 3
        false += min_p(rows, np.arange(35) < 5, np.random.default_rng((i, 1)), 199).min() < 0.05
    assert false <= 25


def test_min_p_finds_the_row_that_differs() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 40))
    rows[7, :20] += 2
    p = min_p(rows, np.arange(40) < 20, random, 999)
    assert p[7] < 0.01
    assert (np.delete(p, 7) > 0.05).all()


def test_flipping_signs_finds_the_row_that_differs() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(9, 30))
    rows[4] += 1.5
    p = max_t_of_signs(rows, random, 999)
    assert p[4] < 0.01
    assert (np.delete(p, 4) > 0.05).all()


def test_block_permutation_keeps_its_level_under_autocorrelation_and_sees_a_step() -> None:
    """p < 0.05 in at most 9% of 200 draws of AR(1) noise with coefficient 0.5; a step of 2 sd is always seen."""
    wrong = 0
    for draw in range(200):
        noise = autocorrelated(np.random.default_rng(draw), 200, 1.0, 0.5)
        wrong += block_permutation(noise, 100) < 0.05
        assert draw >= 20 or block_permutation(noise + 2.0 * (np.arange(200) >= 100), 100) < 0.05
    assert wrong / 200 <= 0.09


def test_nothing_is_claimed_of_too_few_blocks() -> None:
    assert block_permutation(np.array([0.0, 0, 0, 9, 9, 9]), 3) == 1.0
