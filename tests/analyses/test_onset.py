"""Onset: censoring and the curve by hand, relations that are planted, and none in noise."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ontogeny.analyses.onset import Onset, auroc, comparable, concordance, intervals, turnbull
from tests.analyses.tables import table

NEVER = np.inf


def test_intervals_by_hand() -> None:
    """Four passages at epochs 0, 1, 5: memorized from 1 on; from 5 on; once and lost; from the beginning."""
    memorized = np.array([[0, 0, 0, 1], [1, 0, 1, 1], [1, 1, 0, 1]], dtype=bool)
    low, high = intervals(np.array([0.0, 1.0, 5.0]), memorized)
    assert low.tolist() == [0, 1, 5, -np.inf]
    assert high.tolist() == [1, 5, np.inf, 0]


def test_turnbull_by_hand() -> None:
    """Intervals that do not overlap: the shares themselves. (0, 1] twice, (1, 5] once, after 5 once."""
    times, curve = turnbull(np.array([0.0, 0, 1, 5]), np.array([1.0, 1, 5, NEVER]))
    assert times.tolist() == [1, 5, np.inf]
    assert curve == pytest.approx([0.5, 0.75, 1])


def test_turnbull_shares_out_what_is_not_known() -> None:
    """(0, 1], (1, 2], and one in (0, 2]: its half mass goes to each, so both have one half."""
    times, curve = turnbull(np.array([0.0, 1, 0]), np.array([1.0, 2, 2]))
    assert times.tolist() == [1, 2]
    assert curve == pytest.approx([0.5, 1])


def test_turnbull_of_exact_times_is_kaplan_meier() -> None:
    """Times known to a hair, some right-censored: 1 minus scipy's survival function."""
    random = np.random.default_rng(0)
    times, limits = random.exponential(5, 60), random.exponential(8, 60)
    seen = times <= limits
    low = np.where(seen, times - 1e-9, limits)
    high = np.where(seen, times, NEVER)
    found, curve = turnbull(low, high, tolerance=1e-12)
    sample = scipy_stats.CensoredData(uncensored=times[seen], right=limits[~seen])
    theirs = scipy_stats.ecdf(sample).cdf
    for at, value in zip(found[:-1], curve[:-1], strict=True):
        assert value == pytest.approx(float(theirs.evaluate(at)), abs=1e-4)


def test_concordance_by_hand() -> None:
    """Onsets in (0,1], (1,2], (2,inf): three pairs. Values 1, 3, 2: two in order, one not: 2/3. Ties count half."""
    earlier = comparable(np.array([0.0, 1, 2]), np.array([1.0, 2, NEVER]))
    assert int(earlier.sum()) == 3
    assert concordance(earlier, np.array([1.0, 3, 2])) == pytest.approx(2 / 3)
    assert concordance(earlier, np.array([1.0, 1, 1])) == 0.5


def test_overlapping_intervals_are_not_compared() -> None:
    assert not comparable(np.array([0.0, 0.0]), np.array([1.0, 5.0])).any()


def test_auroc_by_hand() -> None:
    """Positives 3 and 1, negatives 2 and 0: of four pairs three are right."""
    assert auroc(np.array([3.0, 1, 2, 0]), np.array([True, True, False, False])) == 0.75
    assert auroc(np.array([1.0, 1]), np.array([True, False])) == 0.5


def planted(seed: int) -> object:
    """The higher the first layer's score at checkpoint 0, the later; compression at checkpoint 1 tells it, too."""
    made = table(seed, passages=60, noise=0.02)
    order = np.argsort(np.argsort(made.score[0, 0, :60]))
    onset = 2 + order * 6 // 60
    memorized = np.zeros_like(made.memorized)
    memorized[:, :60] = (np.arange(len(made.epoch))[:, None] >= onset) & (onset < 7)
    return table(seed, passages=60, noise=0.02, memorized=memorized)


def test_what_decides_onset_is_found_and_predicts() -> None:
    result = Onset(permutations=499).estimate(planted(0))  # type: ignore[arg-type]
    relation = result.numbers["relations"]["compression at block 0, checkpoint 0"]
    assert relation["concordance"] > 0.95
    assert relation["p_adjusted"] < 0.05
    assert result.numbers["relations"]["NLL at checkpoint 0"]["p_adjusted"] > 0.01
    areas = result.numbers["prediction"]["areas"]
    assert areas["compression"]["auroc"] > 0.9
    assert result.numbers["prediction"]["gain_low"] > 0
    assert "block 0" in result.verdict


def test_noise_decides_nothing() -> None:
    """30 draws, adjusted at 5%: 1.5 expected; 6 or more have a probability below 1%."""
    false = sum("nothing" not in Onset(permutations=199).estimate(table(seed)).verdict for seed in range(30))
    assert false <= 5


def test_prediction_from_noise_is_a_coin() -> None:
    areas = [Onset(permutations=99).estimate(table(seed)).numbers["prediction"]["areas"] for seed in range(12)]
    assert abs(np.mean([one["compression"]["auroc"] for one in areas]) - 0.5) < 0.1


def test_none_memorized_says_so() -> None:
    made = table()
    result = Onset().estimate(table(memorized=np.zeros_like(made.memorized)))
    assert "none of 40 passages became memorized" in result.verdict


def test_without_passages_it_is_not_assessable() -> None:
    made = table()
    assert Onset().estimate(table(memorized=np.full_like(made.memorized, np.nan))).verdict.startswith("not assessable")
