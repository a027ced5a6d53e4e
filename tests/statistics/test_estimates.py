import numpy as np
import pytest
from scipy import stats

from ontogeny.statistics.estimates import (
    clustered_mean,
    difference_of_means,
    mean_over_seeds,
    sample,
    share,
    shortage,
    unpaired,
)
from ontogeny.statistics.paired import paired_difference

WEIGHTS = np.full(4, 2.0)


def test_mean_of_independent_items() -> None:
    # Mean -32 / 8 = -4. Residuals -6 + 8 = 2, -10 + 8 = -2, 0, 0: SE = sqrt(4/3 * (4 + 4)) / 8 = 0.40825.
    # t(3) at 0.975 is 3.18245, half an interval 1.29923.
    found = clustered_mean(np.array([-6.0, -10, -8, -8]), WEIGHTS, ["a", "b", "c", "d"], "passage")
    assert (found.value, found.low, found.high) == pytest.approx((-4, -5.29923, -2.70077), abs=1e-5)
    assert found.basis == "4 passages from 4 documents"
    assert found.paired
    assert found.below_zero
    assert not found.above_zero


def test_items_of_one_document_count_together() -> None:
    # The same numbers from two documents: residual sums 2 + 0 and -2 + 0, SE = sqrt(2 * (4 + 4)) / 8 = 0.5,
    # t(1) = 12.7062: an interval of +-6.3531 that holds zero.
    found = clustered_mean(np.array([-6.0, -10, -8, -8]), WEIGHTS, ["a", "b", "a", "b"], "passage")
    assert (found.low, found.high) == pytest.approx((-10.3531, 2.3531), abs=1e-4)
    assert found.basis == "4 passages from 2 documents"
    assert not found.below_zero


def test_longer_passages_weigh_more() -> None:
    # (2 + 12) / (2 + 6) = 1.75 nats per token, not the mean of 1 and 2.
    assert clustered_mean(np.array([2.0, 12]), np.array([2.0, 6]), ["a", "b"], "passage").value == 1.75


def test_one_document_gives_no_interval() -> None:
    found = clustered_mean(np.array([-6.0, -10]), np.array([2.0, 2]), ["a", "a"], "passage")
    assert found.value == -4
    assert np.isnan(found.low)
    assert not found.below_zero
    assert "too few" in found.basis


def test_false_positives_come_as_often_as_an_interval_promises() -> None:
    draw = np.random.default_rng(0)
    documents = [str(i // 3) for i in range(36)]
    alarms = 0
    for _ in range(400):
        shared = np.repeat(draw.standard_normal(12), 3)
        found = clustered_mean(shared + draw.standard_normal(36), np.ones(36), documents, "passage")
        alarms += found.above_zero or found.below_zero
    # 5% of 400 is 20; three standard deviations of a binomial are 3 * sqrt(400 * 0.05 * 0.95) = 13.
    assert 7 <= alarms <= 33


def test_seeds() -> None:
    # Mean 3, sd 1.58114, SE 0.70711, t(4) = 2.77645: half 1.96324.
    found = mean_over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.value, found.low, found.high) == pytest.approx((3, 1.03676, 4.96324), abs=1e-5)
    assert found.ends == (found.low, found.high)
    assert found.above_zero
    assert mean_over_seeds([1.0] * 5).basis == "5 seeds, all alike"


def test_few_seeds_have_a_range_and_no_interval() -> None:
    found = mean_over_seeds([1.0, 2.0, 3.0, 6.0])
    assert (found.value, found.ends) == (3, (1, 6))
    assert np.isnan(found.low)
    assert (found.above_zero, found.rose, found.fell) == (False, True, False)
    assert found.why == "4 seeds: too few for an interval over seeds (5 are needed)"
    mixed = mean_over_seeds([-1.0, 2.0])
    assert (mixed.rose, mixed.fell) == (False, False)


def test_a_standard_error_that_is_not_a_number_gives_no_interval() -> None:
    found = unpaired(1.4, (np.nan, 0.1), "1 passage from 1 document")
    assert (found.ends, found.how, found.basis) == (None, "", "1 passage from 1 document, too few for an interval")
    # sqrt(0.3^2 + 0.4^2) = 0.5, times 1.95996.
    assert unpaired(1.0, (0.3, 0.4), "8 passages from 8 documents").low == pytest.approx(1 - 0.97998, abs=1e-5)


def test_shares_of_one_passage_per_document() -> None:
    names = [str(i) for i in range(48)]
    # 0 of 48: 1 - 0.05^(1/48) = 0.06050; the rule of three, 3 / 48 = 0.0625, is near.
    none = share(np.zeros(48), names, "passage")
    assert (none.value, none.low, none.high) == (0.0, 0.0, pytest.approx(0.06050, abs=1e-5))
    assert share(np.ones(48), names, "passage").low == pytest.approx(1 - 0.06050, abs=1e-5)
    # 7 of 20, each a document: an independent implementation of Clopper and Pearson.
    found = share(np.repeat([1.0, 0.0], [7, 13]), names[:20], "passage")
    expected = stats.binomtest(7, 20).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert share(np.full(3, np.nan), names[:3], "passage").basis == "no passages"


def test_passages_of_a_document_count_once_in_a_share() -> None:
    # Ten documents of five passages: 15 of 50 are as 3 of 10.
    found = share(np.repeat([1.0, 0.0], [15, 35]), [str(i // 5) for i in range(50)], "passage")
    expected = stats.binomtest(3, 10).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.basis == "50 passages from 10 documents"
    # Documents of 1, 1 and 4 passages are worth 36 / 18 = 2: 1 - 0.05^(1/2) = 0.77639.
    assert share(np.zeros(6), list("abcccc"), "passage").high == pytest.approx(0.77639, abs=1e-5)


def test_a_share_of_one_document_has_no_interval() -> None:
    found = share(np.array([1.0, 0, 1]), ["a"] * 3, "passage")
    assert (found.ends, found.basis) == (None, "3 passages from 1 document, too few for an interval")
    assert "more documents" in found.why


def test_the_difference_of_two_means_is_that_of_welch() -> None:
    first, second = np.array([3.0, 4, 8, 5]), np.array([1.0, 2, 2])
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    found = difference_of_means(paired_difference(first, np.ones(4)), paired_difference(second, np.ones(3)))
    assert found == pytest.approx((expected.low, expected.high))


def test_what_is_missing_is_said_with_what_to_do() -> None:
    assert shortage(8, "checkpoint", 1, "measure more often") == "8 checkpoints or more: there is 1; measure more often"
    assert shortage(1, "document", 0, "add one") == "1 document or more: there is none; add one"
    assert sample(1, "passage", 1) == "1 passage from 1 document"


def clustered_flags(random: np.random.Generator, documents: int, truth: float) -> tuple[np.ndarray, list[str]]:
    """Documents of 4 to 8 passages: with a probability of 0.9 all are alike, else they differ."""
    sizes = random.integers(4, 9, documents)
    whole = random.random(documents) < truth
    own = [random.random(n) < truth for n in sizes]
    alike = random.random(documents) < 0.9
    flags = [np.full(n, w) if a else o for n, w, a, o in zip(sizes, whole, alike, own, strict=True)]
    return np.concatenate(flags).astype(float), np.repeat(np.arange(documents).astype(str), sizes).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("documents", [2, 5, 10, 30])
@pytest.mark.parametrize("truth", [0.02, 0.1, 0.3, 0.5, 0.9])
def test_the_interval_of_a_clustered_share_holds_the_truth(documents: int, truth: float) -> None:
    random = np.random.default_rng(documents)
    held = 0
    for _ in range(1000):
        found = share(*clustered_flags(random, documents, truth), "passage")
        held += found.low <= truth <= found.high
    assert held >= 920  # at 95%, 936 is two standard errors below


@pytest.mark.slow
@pytest.mark.parametrize("documents", [5, 10, 30])
def test_the_paired_interval_of_clustered_passages_holds_nothing(documents: int) -> None:
    """Passages of 20 to 60 tokens share nine tenths of the variance of their change; heavy tails (t with 3 degrees)."""
    random = np.random.default_rng(documents)
    for draw in (random.standard_normal, lambda n: random.standard_t(3, n)):
        held = 0
        for _ in range(1000):
            sizes = random.integers(4, 9, documents)
            names = np.repeat(np.arange(documents).astype(str), sizes)
            tokens = random.integers(20, 61, len(names)).astype(float)
            shift = np.sqrt(0.9) * np.repeat(draw(documents), sizes) + np.sqrt(0.1) * draw(len(names))
            found = clustered_mean(shift * tokens, tokens, names.tolist(), "passage")
            held += found.low <= 0 <= found.high
        assert held >= 920
