"""Order of layers where one is planted, and none where all move together."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from ontogeny.analyses.layers import Layers, half_time, permuted_order, rank_correlation_with_depth
from tests.analyses.tables import EPOCHS, table


def test_half_time_by_hand() -> None:
    """0, 1, 3, 4 at x = 0, 1, 2, 3: half of 4 is reached midway between 1 and 3, at 1.5."""
    assert half_time(np.arange(4.0), np.array([0.0, 1, 3, 4])) == 1.5
    assert half_time(np.arange(4.0), np.array([0.0, -1, -3, -4])) == 1.5


def test_half_times_of_many_effects_at_once() -> None:
    """As above; 4, 1, 3, 4 is beyond half at once; 0, 1, 0, 0 ends at no effect, which has no half."""
    many = half_time(np.arange(4.0), np.array([[[0.0, 1, 3, 4], [4, 1, 3, 4]], [[0, 2, 2, 2], [0, 1, 0, 0]]]))
    assert many.tolist()[0] == [1.5, 0]
    assert many[1, 0] == 0.5
    assert np.isnan(many[1, 1])


def test_the_rank_correlation_is_that_of_another_implementation() -> None:
    random = np.random.default_rng(0)
    times = np.round(random.normal(size=(20, 6)), 1)  # with ties
    expected = [kendalltau(np.arange(6), row).statistic for row in times]
    assert rank_correlation_with_depth(times) == pytest.approx(expected)
    assert np.isnan(rank_correlation_with_depth(np.array([1.0, np.nan, 3.0])))
    assert permuted_order(np.array([1.0, np.nan, 3.0]), random, 99) == 1


def test_size_does_not_move_the_time() -> None:
    effect = np.array([0.0, 0.2, 0.7, 1.0])
    assert half_time(np.arange(4.0), 100 * effect) == half_time(np.arange(4.0), effect)


def moving(seed: int, times: list[float]) -> object:
    """Layer i moves by 1 around epoch times[i]; larger effects for later layers, which must not matter."""
    made = table(seed, layers=len(times), noise=0.05)
    x = np.log1p(np.array(EPOCHS))
    score = made.score.copy()
    for layer, time in enumerate(times):
        curve = 1 / (1 + np.exp(-4 * (x - np.log1p(time))))
        score[:, layer] += (0.5 + layer / 4) * (curve - curve[0])[:, None] * made.trained
    return table(seed, layers=len(times), score=score)


@pytest.mark.parametrize(
    ("times", "said"),
    [([2, 4, 8, 16, 32, 60], "early layers move first"), ([60, 32, 16, 8, 4, 2], "late layers move first")],
)
def test_an_order_is_found(times: list[float], said: str) -> None:
    result = Layers(permutations=199).time(moving(0, times))  # type: ignore[arg-type]
    assert result.verdict == said
    assert result.numbers["p"] == pytest.approx(2 / 720)


@pytest.mark.slow
def test_layers_that_move_together_have_no_order() -> None:
    """20 draws at 5%: one expected; 5 or more have a probability below 0.3%."""
    verdicts = [Layers(permutations=199).time(moving(seed, [10.0] * 6)).verdict for seed in range(20)]  # type: ignore[arg-type]
    assert sum("move first" in one for one in verdicts) <= 4


def test_without_an_effect_nothing_is_timed() -> None:
    assert Layers(permutations=199).time(table(layers=5)).verdict.startswith("not assessable")


def test_order_of_four_layers_cannot_be_significant() -> None:
    assert permuted_order(np.array([1.0, 2, 3, 4]), np.random.default_rng(0), 99) == pytest.approx(2 / 24)


def test_a_layer_that_is_no_number_is_named() -> None:
    made = table(layers=3)
    made.score[-1, 1] = np.nan
    assert "block 1: left out, since compression is no number there at some checkpoint" in Layers().time(made).sentences
    made.score[-1] = np.nan
    assert Layers().time(made).verdict.startswith("not assessable: compression is no number")


def test_layers_that_move_at_once_without_noise_have_no_rank_correlation() -> None:
    made = table(layers=6)
    strength = made.trained * (1 + 0.01 * np.arange(80))  # of each document, the same in all layers
    made.score[:] = -5 + np.arange(len(EPOCHS))[:, None, None] * strength
    found = Layers(permutations=99).time(made)
    assert found.verdict == "no order: all layers reach half of their final effect at the same time"
    assert "nan" not in " ".join(found.sentences)
