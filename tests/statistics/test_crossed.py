"""Seeds crossed with documents: by hand, and how often the interval holds in simulations."""

import numpy as np
import pytest

from ontogeny.statistics.crossed import crossed_difference
from ontogeny.statistics.intervals import t_interval


def test_by_hand() -> None:
    """Two seeds, two documents of weights 1 and 3. Seed 1: totals 1, 3: mean 4/4 = 1; seed 2: 3, 5: mean 2.
    Value 1.5. Seeds: sd = 0.7071, se_S = 0.5. Mean over seeds: 2, 4. Jackknife: without the first 4/3, without the
    second 2/1; mean 5/3; se_D^2 = (1/2) (1/9 + 1/9) = 1/9, se_D = 1/3. se^2 = 1/4 + 1/9 = 13/36, se = 0.60093.
    D' = 16 / 10 = 1.6, so D' - 1 = 0.6. Degrees: (13/36)^2 / ((1/16) / 1 + (1/81) / 0.6) = 0.130401 / 0.083076."""
    result = crossed_difference(np.array([[1.0, 3.0], [3.0, 5.0]]), np.array([1.0, 3.0]))
    assert (result.value, result.seed_error, result.document_error) == pytest.approx((1.5, 0.5, 1 / 3))
    assert result.degrees == pytest.approx(0.130401 / 0.083076, rel=1e-4)
    assert (result.high - result.value) == pytest.approx(result.value - result.low)
    assert (result.seeds, result.documents) == (2, 2)


def test_it_is_clarks_min_f() -> None:
    """Equal weights: F of either kind is the square of value / error; 1 / min F' = 1 / F_S + 1 / F_D, and the degrees
    are (F_S + F_D)^2 / (F_S^2 / (D - 1) + F_D^2 / (S - 1)), as Clark (1973) has them. p by scipy's F distribution."""
    from scipy import stats

    total = np.random.default_rng(0).normal(0.3, 1, (5, 12)) + np.random.default_rng(1).normal(0, 1, (5, 1))
    result = crossed_difference(total, np.ones(12))
    f_seeds = stats.ttest_1samp(total.mean(axis=1), 0).statistic ** 2
    f_documents = stats.ttest_1samp(total.mean(axis=0), 0).statistic ** 2
    min_f = f_seeds * f_documents / (f_seeds + f_documents)
    degrees = (f_seeds + f_documents) ** 2 / (f_seeds**2 / 11 + f_documents**2 / 4)
    assert result.degrees == pytest.approx(degrees)
    assert result.p == pytest.approx(stats.f.sf(min_f, 1, degrees))


def test_what_cannot_be_said() -> None:
    """One seed, or one document that counts, gives a value without an interval; no document at all not even that."""
    assert np.isnan(crossed_difference(np.ones((1, 5)), np.ones(5)).low)
    lone = crossed_difference(np.ones((5, 2)), np.array([2.0, 0.0]))
    assert (lone.value, lone.documents) == (0.5, 1)
    assert np.isnan(lone.p)
    assert np.isnan(crossed_difference(np.ones((5, 1)), np.zeros(1)).value)
    assert np.isnan(crossed_difference(np.array([[1.0, np.nan], [1.0, 1.0]]), np.ones(2)).low)


def test_no_difference_anywhere_is_no_difference() -> None:
    assert crossed_difference(np.zeros((5, 8)), np.ones(8)).p == 1


KINDS = {"seeds": (1.0, 0.0), "documents": (0.0, 1.0), "both": (0.7, 0.7), "neither": (0.0, 0.0)}


@pytest.mark.parametrize("kind", KINDS)
def test_it_holds_its_level(kind: str) -> None:
    """Five seeds, 20 documents, 300 draws in which nothing differs, with noise of seeds, of documents, of both, and of
    single cells: of 15 false claims expected at most, 26 or more have a probability of 0.6%. A t test over documents
    alone claims in far more where seeds vary, and one over seeds alone where documents do."""
    of_seeds, of_documents = KINDS[kind]
    claims = {"crossed": 0, "documents": 0, "seeds": 0}
    for draw in range(300):
        random = np.random.default_rng((draw, 11))
        total = of_seeds * random.normal(0, 1, (5, 1)) + of_documents * random.normal(0, 1, (1, 20))
        total = total + random.normal(0, 1, (5, 20))
        claims["crossed"] += crossed_difference(total, np.ones(20)).p < 0.05
        claims["documents"] += t_interval(total.mean(axis=0)).p < 0.05
        claims["seeds"] += t_interval(total.mean(axis=1)).p < 0.05
    assert claims["crossed"] < 26
    alone = {"seeds": "documents", "documents": "seeds"}.get(kind)
    assert alone is None or claims[alone] > 45


def test_a_planted_difference_is_found() -> None:
    """0.5 beside noise of 0.1 of seeds and documents: in every one of 50 draws, and the interval holds it in most."""
    held = 0
    for draw in range(50):
        random = np.random.default_rng((draw, 12))
        total = 0.5 + 0.1 * (random.normal(0, 1, (5, 1)) + random.normal(0, 1, (1, 20)) + random.normal(0, 1, (5, 20)))
        result = crossed_difference(total, np.ones(20))
        assert result.p < 0.01
        held += result.low <= 0.5 <= result.high
    assert held >= 43  # 47.5 expected at least; fewer than 43 have a probability of 1%
