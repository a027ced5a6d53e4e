"""Paired differences by document: by hand, against independent implementations, and without bias in noise."""

import numpy as np
import pytest
from scipy import stats

from ontogeny.statistics.estimates import difference_of_means
from ontogeny.statistics.paired import chosen_by_others, fieller_ratio, jackknife_error, paired_difference, since_best


def test_equal_weights_give_the_paired_t_interval() -> None:
    change = np.array([0.3, -0.1, 0.5, 0.2, 0.6])
    found = paired_difference(change, np.ones(5))
    expected = stats.ttest_1samp(change, 0)
    low, high = expected.confidence_interval()
    assert (found.value, found.low, found.high, found.p) == pytest.approx((0.3, low, high, expected.pvalue))


def test_unequal_weights_by_hand() -> None:
    """Totals 2, 3, 7 over weights 1, 2, 3: 12 / 6 = 2. Without each: 10/5, 9/4, 5/3; their mean is 1.97222, the squares
    of the distances 0.000772, 0.077160, 0.093364, the sum 0.171296, times 2/3 and the root 0.337931.
    """
    total, weight = np.array([2.0, 3.0, 7.0]), np.array([1.0, 2.0, 3.0])
    assert paired_difference(total, weight).value == 2
    assert jackknife_error(total, weight) == pytest.approx(0.337931, abs=1e-6)


def test_documents_that_weigh_most_decide_the_degrees_of_freedom() -> None:
    """Weights 1, 1, 4: (6)^2 / 18 = 2 documents, 1 degree. Equal ones: 3 - 1. One that is all: the least, 0.5."""
    change = np.array([1.0, 2.0, 3.0])
    assert paired_difference(change, np.array([1.0, 1, 4])).degrees == pytest.approx(1)
    assert paired_difference(change, np.full(3, 7.0)).degrees == pytest.approx(2)
    extreme = paired_difference(change, np.array([1.0, 1, 1e9]))
    assert extreme.degrees == 0.5
    assert np.isfinite([extreme.low, extreme.high]).all()


@pytest.mark.parametrize(("documents", "large"), [(5, 2), (8, 2), (16, 4)])
def test_the_interval_holds_nothing_where_few_documents_weigh_most(documents: int, large: int) -> None:
    """A few documents of twelve passages, the others of one, each document with one deviation that all of it shares.

    300 draws at 95%: below 276 (92%) in 2% of tries. With D - 1 degrees of freedom it held in 84 to 92%.
    """
    random = np.random.default_rng(documents)
    weight = np.where(np.arange(documents) < large, 12.0, 1.0)
    held = alone = 0
    for _ in range(300):
        change = paired_difference(random.normal(size=documents) * weight, weight)
        held += change.low <= 0 <= change.high
        alone += abs(change.value) <= stats.t.ppf(0.975, documents - 1) * change.error
    assert held >= 276
    assert alone < 0.93 * 300


def test_the_difference_of_two_such_means_holds_nothing() -> None:
    """Eight documents each, two of which hold most passages."""
    random, held = np.random.default_rng(0), 0
    weight = np.array([12.0, 12, 1, 1, 1, 1, 1, 1])
    for _ in range(300):
        first, second = (paired_difference(random.normal(size=8) * weight, weight) for _ in range(2))
        low, high = difference_of_means(first, second)
        held += low <= 0 <= high
    assert held >= 276


def test_what_did_not_change_is_exactly_nothing() -> None:
    found = paired_difference(np.zeros(6), np.arange(1.0, 7.0))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_document_has_no_interval() -> None:
    found = paired_difference(np.array([2.0]), np.array([4.0]))
    assert found.value == 0.5
    assert np.isnan([found.low, found.high, found.p]).all()


def test_the_best_checkpoint_of_noise_is_not_better_when_others_choose_it() -> None:
    """30 checkpoints of noise: the lowest mean of 20 documents lies two standard errors low; chosen by others, none."""
    plain, fair = [], []
    for seed in range(100):
        random = np.random.default_rng(seed)
        total, weight = random.normal(0, 1, (30, 20)), np.ones(20)
        plain.append(total.mean(axis=1).min())
        fair.append(chosen_by_others(total, weight, lambda curve: int(curve.argmin()), random).mean())
    assert np.mean(plain) < -0.4  # E[min of 30 normal means] = -2.04 / sqrt(20) = -0.456
    assert abs(np.mean(fair)) < 4 * np.std(fair) / 10


def test_a_clear_best_checkpoint_is_chosen_by_all() -> None:
    total = np.array([[5.0, 6, 7, 8], [1, 2, 3, 4], [5, 6, 7, 8]])
    found = chosen_by_others(total, np.ones(4), lambda curve: int(curve.argmin()), np.random.default_rng(0))
    assert found.tolist() == [1, 2, 3, 4]


def test_the_interval_since_the_best_holds_it_where_several_are_about_as_low() -> None:
    """Up by 0.2 within the first few of twelve checkpoints, back to 0.05: in 92% of draws (176 of 200 would be 88%);
    an interval of what others choose alone would miss it in one of five.
    """
    curve = np.array([0, 0.02, 0.05, 0.07, 0.12, 0.2, 0.18, 0.14, 0.05, 0.05, 0.05, 0.05])
    held = alone = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        found = since_best(curve[:, None] + random.normal(0, 0.1, (12, 12)), np.ones(12), random)
        held += found.low <= 0.05 <= found.high
        alone += found.low <= 0.05 <= 2 * found.value - found.low
    assert held >= 176
    assert alone < 0.85 * 200


def test_a_quotient_and_its_coverage() -> None:
    """The interval holds the true quotient 0.5 in about 95% of 400 draws: 0.92 is three standard errors below."""
    held = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        below = random.normal(2, 1, 15)
        value, low, high = fieller_ratio(0.5 * below + random.normal(0, 0.5, 15), below)
        held += low <= 0.5 <= high
    assert 0.92 <= held / 400 <= 0.98
    assert value == pytest.approx(0.5, abs=0.4)


def test_a_quotient_without_a_sure_denominator_is_none() -> None:
    random = np.random.default_rng(0)
    assert np.isnan(fieller_ratio(random.normal(1, 1, 10), random.normal(0, 1, 10))).all()


def test_a_document_of_which_no_token_counts_says_nothing() -> None:
    """Without it, 2 / 5 and 3 / 5 remain: mean 0.5, error 0.1 by hand. With one document left there is no p at all."""
    three, two = (paired_difference(np.array([2.0, 3, 0])[:n], np.array([5.0, 5, 0])[:n]) for n in (3, 2))
    assert three == two
    assert (two.value, two.error, two.documents) == (pytest.approx(0.5), pytest.approx(0.1), 2)
    alone = paired_difference(np.array([1.0, 0]), np.array([5.0, 0]))
    assert alone.documents == 1
    assert np.isnan([alone.p, alone.low, alone.high]).all()
    assert since_best(np.zeros((3, 5)), np.array([1.0, 0, 0, 0, 0]), np.random.default_rng(0)).documents == 1
