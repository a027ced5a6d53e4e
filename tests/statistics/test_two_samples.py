"""Two groups of documents: against scipy, and at the promised rate."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics.two_samples import group_difference, welch_t, welch_t_by_labels


def test_effect_equals_scipy() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(1, 1, 20), random.normal(0, 2, 30)
    found = group_difference(one, other, random)
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
        found = group_difference(random.normal(size=25), random.normal(size=25), random)
        covered += found.low <= 0 <= found.high
    assert covered >= 180


def test_vectorised_t_equals_welch() -> None:
    random = np.random.default_rng(1)
    values, label = random.normal(size=(4, 30)), np.arange(30) < 12
    expected = scipy_stats.ttest_ind(values[:, label], values[:, ~label], axis=1, equal_var=False).statistic
    assert welch_t(values[:, label], values[:, ~label]) == pytest.approx(expected)
    assert welch_t_by_labels(values, label[None])[0] == pytest.approx(expected)
