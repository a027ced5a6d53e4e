"""Exposure and memorization told apart, where each is planted; neither in noise."""

from typing import Any

import numpy as np
import pytest

from ontogeny.analyses.groups import Groups, status
from tests.analyses.tables import table


def compare(**changes: Any) -> dict[str, Any]:
    made = table(**changes)
    return dict(Groups(permutations=499).compare(made).numbers)


def planted(which: str, size: float = 0.5, **settings: Any) -> Any:
    """An effect of `size` at layer 1 from the third checkpoint on: on trained passages, or on memorized ones alone."""
    made = table(**settings)
    chosen = made.trained if which == "exposure" else made.memorized[-1] > 0.5
    score = made.score.copy()
    score[2:, 1] += size * chosen
    return table(**settings, score=score)


def test_exposure_is_called_exposure() -> None:
    result = Groups(permutations=499).compare(planted("exposure"))
    assert result.numbers["verdict"] == "exposure"
    contrast = result.numbers["contrasts"]["exposure"]
    assert contrast["best_layer"] == 1
    assert contrast["best_on_other_half"].low < 0.5 < contrast["best_on_other_half"].high
    assert contrast["p_corrected"][1:, 1].max() < 0.05
    assert contrast["p_corrected"][0].min() > 0.05


def test_memorization_is_called_memorization() -> None:
    result = Groups(permutations=499).compare(planted("memorization"))
    assert result.numbers["verdict"] == "memorization"
    contrast = result.numbers["contrasts"]["memorization"]
    assert contrast["value"][-1, 1] == pytest.approx(0.5, abs=0.1)
    assert result.numbers["documents"] == {"memorized": 20, "trained, not memorized": 20, "trained": 40, "novel": 40}


def test_a_difference_that_was_there_before_training_is_none() -> None:
    """Memorized passages stand 2 nats higher from the beginning: the placebo takes it off."""
    made = table()
    higher = table(score=made.score + 2 * (made.memorized[-1] > 0.5))
    assert Groups(permutations=499).compare(higher).numbers["verdict"] == "neither"


@pytest.mark.slow
def test_noise_gives_a_verdict_at_no_more_than_the_nominal_rate() -> None:
    """A verdict at 5% over both contrasts, 60 draws: 3 expected; 9 or more have a probability of 0.3% (binomial)."""
    verdicts = [Groups(permutations=199).compare(table(seed)).numbers["verdict"] for seed in range(60)]
    assert sum(one != "neither" for one in verdicts) <= 8


def test_passages_of_one_document_count_once() -> None:
    """Eight documents of five passages: noise that is shared within a document must not count five times.

    40 draws with document effects alone: at most 5 verdicts (binomial at 0.0975 for two families: 99% below 10).
    """
    false = 0
    for seed in range(40):
        made = table(seed, per_document=5)
        random = np.random.default_rng(1000 + seed)
        shared = random.normal(0, 0.5, (len(made.epoch), 3, 16))[..., made.document]
        found = Groups(permutations=199).compare(table(seed, per_document=5, score=made.score + shared))
        false += found.numbers["verdict"] not in ("neither", "no exposure effect", "not assessable")
    assert false <= 9


def test_when_all_is_memorized_an_earlier_checkpoint_decides() -> None:
    made = table()
    memorized = made.memorized.copy()
    memorized[-1, :40] = 1
    at, _ = status(table(memorized=memorized))
    assert at == len(made.epoch) - 2


def test_without_anything_memorized_it_says_what_is_lacking() -> None:
    made = table()
    result = Groups(permutations=99).compare(table(memorized=np.zeros_like(made.memorized)))
    lack = "nothing was memorized (of 40 trained documents): train longer"
    assert f"memorized against trained, not memorized: not assessable: {lack}" in result.sentences
    assert result.numbers["verdict"] == "no exposure effect"
    assert result.verdict.endswith(f"memorization is not assessable: {lack}")


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two = (Groups(permutations=99, seed=3).compare(table()) for _ in range(2))
    assert one.sentences == two.sentences


def test_one_checkpoint_is_too_few() -> None:
    assert Groups().compare(table(epochs=(0.0,))).verdict == (
        "not assessable: lacks 2 checkpoints or more: there is 1; measure at 2 or more"
    )


@pytest.mark.filterwarnings("error")
def test_no_sentence_holds_what_is_no_number() -> None:
    still = table(score=np.full((9, 3, 80), -5.0))
    missing = table()
    missing.score[-1, 1] = np.nan
    for made in (still, missing):
        assert "nan" not in " ".join(Groups(permutations=99).compare(made).sentences)
