"""Two groups of documents: against scipy, and at the promised rate where they vary to different degrees."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.statistics.two_samples import group_difference, ratio_of_differences, welch_by_labels, welch_p_by_labels


def test_effect_equals_scipy() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(1, 1, 20), random.normal(0, 2, 30)
    found = group_difference(one, other)
    theirs = scipy_stats.ttest_ind(one, other, equal_var=False)
    low, high = theirs.confidence_interval()
    label = np.repeat([1, 0], [20, 30])
    assert (found.t, found.p) == pytest.approx((theirs.statistic, theirs.pvalue))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.r == pytest.approx(scipy_stats.pointbiserialr(label, np.concatenate([one, other])).statistic)
    assert found.n == (20, 30)


def test_interval_covers_with_five_documents_each() -> None:
    """A percentile bootstrap holds 0 in about 86%. 1,000 draws at 95%: 930 or fewer have a probability of 0.3%."""
    covered = 0
    for i in range(1000):
        random = np.random.default_rng(i)
        found = group_difference(random.normal(size=5), random.normal(size=5))
        covered += found.low <= 0 <= found.high
    assert covered > 930


def test_equal_constants_are_no_difference_and_other_constants_are_one() -> None:
    same, apart = group_difference(np.ones(3), np.ones(4)), group_difference(np.full(3, 2.0), np.ones(4))
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)
    assert (apart.value, apart.low, apart.high, apart.p) == pytest.approx((1, 1, 1, 0), abs=1e-6)


def test_vectorised_t_and_p_equal_welch() -> None:
    random = np.random.default_rng(1)
    values, label = random.normal(size=(4, 30)), np.arange(30) < 12
    theirs = scipy_stats.ttest_ind(values[:, label], values[:, ~label], axis=1, equal_var=False)
    t, degrees = welch_by_labels(values, label[None])
    assert t[0] == pytest.approx(theirs.statistic)
    assert degrees[0] == pytest.approx(theirs.df)
    assert welch_p_by_labels(values, label[None])[0] == pytest.approx(theirs.pvalue)


def test_a_row_that_does_not_vary_has_p_one() -> None:
    assert welch_p_by_labels(np.full((1, 6), 0.1), np.arange(6)[None] < 3).tolist() == [[1.0]]


def test_the_ends_of_a_ratio_are_where_the_difference_is_just_significant() -> None:
    """By Fieller's definition, with another implementation: at the ends, `above - r below` has Welch's |t| at t(df)."""
    random = np.random.default_rng(0)
    below = [random.normal(mean, 0.5, n) for mean, n in ((4, 12), (1, 9))]
    above = [0.5 * values + random.normal(0, 0.2, len(values)) for values in below]
    first, second = (np.stack(rows) for rows in zip(above, below, strict=True))
    found = ratio_of_differences(first, second)
    degrees = min(
        scipy_stats.ttest_ind(*rows, equal_var=False).df
        for rows in (below, [a - found["value"] * b for a, b in zip(above, below, strict=True)])
    )
    for end in (found["low"], found["high"]):
        rest = [a - end * b for a, b in zip(above, below, strict=True)]
        t = scipy_stats.ttest_ind(*rest, equal_var=False).statistic
        assert abs(t) == pytest.approx(scipy_stats.t.ppf(0.975, degrees))
    assert np.isnan(ratio_of_differences(first, first + 1e-3)["low"])  # nothing to divide by
