"""Shared statistics: by hand, against scipy, and at their promised rates."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics import by_document as stats


def test_means_by_document_by_hand() -> None:
    """Document 0 has 1 and 3; document 1 has 5 and a missing one; document 2 only a missing one."""
    values = np.array([[1.0, 5.0, 3.0, np.nan, np.nan]])
    found = stats.by_document(values, np.array([0, 1, 0, 1, 2]))
    assert found[0, :2].tolist() == [2, 5]
    assert np.isnan(found[0, 2])


def test_effect_equals_scipy() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(1, 1, 20), random.normal(0, 2, 30)
    found = stats.effect(one, other, random)
    theirs = scipy_stats.ttest_ind(one, other, equal_var=False)
    label = np.repeat([1, 0], [20, 30])
    assert (found.t, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert found.r == pytest.approx(scipy_stats.pointbiserialr(label, np.concatenate([one, other])).statistic)
    assert found.low < found.value < found.high
    assert found.n == (20, 30)


def test_bootstrap_interval_covers() -> None:
    """Two groups of 25 from the same normal: 95% intervals hold 0 in at least 180 of 200 draws (binomial, 99.9%)."""
    covered = 0
    for i in range(200):
        random = np.random.default_rng(i)
        found = stats.effect(random.normal(size=25), random.normal(size=25), random)
        covered += found.low <= 0 <= found.high
    assert covered >= 180


def test_vectorised_t_equals_welch() -> None:
    random = np.random.default_rng(1)
    values, label = random.normal(size=(4, 30)), np.arange(30) < 12
    expected = scipy_stats.ttest_ind(values[:, label], values[:, ~label], axis=1, equal_var=False).statistic
    assert stats.welch(values[:, label], values[:, ~label]) == pytest.approx(expected)
    assert stats._t_of(values, label[None])[0] == pytest.approx(expected)


def test_max_t_keeps_the_familywise_rate() -> None:
    """60 rows of correlated noise, 200 draws: any p below 0.05 in at most 5%, so at most 19 draws (binomial, 99.7%)."""
    false = 0
    for i in range(200):
        random = np.random.default_rng(i)
        rows = random.normal(size=(60, 24)) + 2 * random.normal(size=24)
        false += stats.max_t(rows, np.arange(24) < 12, random, 199).min() < 0.05
    assert false <= 19


def test_max_t_finds_the_row_that_differs() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 40))
    rows[7, :20] += 2
    p = stats.max_t(rows, np.arange(40) < 20, random, 999)
    assert p[7] < 0.01
    assert (np.delete(p, 7) > 0.05).all()


def test_benjamini_hochberg_equals_scipy() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.5, 0.2])
    assert stats.benjamini_hochberg(p) == pytest.approx(scipy_stats.false_discovery_control(p))
    with_nan = stats.benjamini_hochberg(np.array([0.01, np.nan, 0.04]))
    assert with_nan[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(with_nan[1])


def test_mean_interval_equals_scipy() -> None:
    values = np.array([1.0, 2.0, 4.0, 7.0])
    value, low, high, p = stats.mean_interval(values)
    theirs = scipy_stats.ttest_1samp(values, 0)
    interval = theirs.confidence_interval()
    assert (value, low, high, p) == pytest.approx((3.5, interval.low, interval.high, theirs.pvalue))


def test_halves_share_no_document() -> None:
    one, two = stats.halves([np.arange(7), np.arange(7, 12)], np.random.default_rng(0))
    assert sorted([*one, *two]) == list(range(12))
    assert sum(i < 7 for i in one) == 4
