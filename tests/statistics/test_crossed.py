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
    assert result.degrees == pytest.approx(1.5 * 0.6)  # 1.5697, at most 1.5 times the fewer of 1 and 0.6
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
    assert degrees < 1.5 * 4
    assert result.degrees == pytest.approx(degrees)
    assert result.p == pytest.approx(stats.f.sf(min_f, 1, degrees))


def test_degrees_of_freedom_are_bounded() -> None:
    """Twelve documents that vary far more than five seeds: nearly 11 degrees, of which 1.5 x 4 are taken."""
    total = np.random.default_rng(0).normal(0, 1, (1, 12)) + np.random.default_rng(1).normal(0, 1e-3, (5, 12))
    assert crossed_difference(total, np.ones(12)).degrees == 6


def test_a_lone_run_beside_the_seeds_varies_as_one_of_them_does() -> None:
    """Seeds 1, 2, 3 on two documents alike: sd 1; se^2 1/3 beside nothing, 1/3 + 1 beside one run."""
    total = np.repeat([[1.0], [2.0], [3.0]], 2, axis=1)
    assert crossed_difference(total, np.ones(2)).seed_error == pytest.approx(np.sqrt(1 / 3))
    assert crossed_difference(total, np.ones(2), beside_a_lone_run=True).seed_error == pytest.approx(np.sqrt(4 / 3))
    claims = 0
    for draw in range(400):  # one more run of the same: 5% would be 20; without its own deviation it is far more
        random = np.random.default_rng((draw, 12))
        runs = random.normal(0, 1, (6, 1)) + random.normal(0, 0.1, (6, 20))
        claims += crossed_difference(runs[:5] - runs[5], np.ones(20), beside_a_lone_run=True).p < 0.05
    assert claims < 36


def test_rounding_is_no_difference() -> None:
    assert crossed_difference(np.full((5, 8), 1e-9), np.ones(8)).p > 0.9


@pytest.mark.slow
def test_the_tail_is_no_heavier_than_it_should_be() -> None:
    """Seeds, documents and cells vary alike: p below 0.05 / 20 in 0.25% of draws. Of 20,000 draws 50 are expected, more
    than 70 in 0.3% of cases; without the bound of degrees there are some 90."""
    random = np.random.default_rng(5)
    count = 0
    for _ in range(20_000):
        total = random.normal(size=(5, 1)) + random.normal(size=(1, 17)) + random.normal(size=(5, 17))
        count += crossed_difference(total, np.ones(17)).p < 0.05 / 20
    assert count <= 70


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
