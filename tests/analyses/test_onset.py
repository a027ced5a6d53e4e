"""Onset: relations that are planted are found, and none in noise."""

import numpy as np
import pytest

from ontogeny.analyses.onset import Onset
from tests.analyses.tables import table


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


@pytest.mark.slow
def test_noise_decides_nothing() -> None:
    """30 draws, adjusted at 5%: 1.5 expected; 6 or more have a probability below 1%."""
    false = sum("nothing" not in Onset(permutations=199).estimate(table(seed)).verdict for seed in range(30))
    assert false <= 5


@pytest.mark.slow
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


def test_what_was_memorized_before_training_has_no_onset() -> None:
    made = table()
    before = Onset().estimate(table(memorized=np.where(made.trained, 1.0, 0.0) * np.ones((9, 1))))
    assert before.verdict.startswith("all of 40 passages were memorized before training")
    assert (
        Onset(permutations=99).estimate(table(epochs=(0.0,))).verdict.startswith("not assessable: lacks 2 checkpoints")
    )


@pytest.mark.filterwarnings("error")
def test_a_number_that_is_none_is_left_out_by_name() -> None:
    made = table()
    made.score[:2, 1, 3] = np.nan
    found = Onset(permutations=99, refits=99).estimate(made)
    assert found.sentences[-1] == (
        "left out, since it is no number in some document: compression at block 1, checkpoint 0"
    )
    assert np.isfinite(found.numbers["prediction"]["areas"]["compression"]["auroc"])
    made.nll[1, 3] = np.nan
    assert "look at what made it none" in Onset(permutations=99).estimate(made).numbers["prediction"]["lacks"]


def test_directions_are_told_only_where_they_are_sure() -> None:
    lines = Onset(permutations=499, refits=99).estimate(planted(0)).sentences  # type: ignore[arg-type]
    assert any(line.startswith("higher compression at block 0, checkpoint 0: later onset") for line in lines)
    assert any(": onset not significantly earlier or later, concordance" in line for line in lines)
