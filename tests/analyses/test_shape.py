"""Shapes that are there are named; a saturating curve is not called a U."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ontogeny.analyses.recorded.passages import Passages
from ontogeny.analyses.shape import Shape, recurs, shape_of
from tests.analyses.tables import table

EPOCHS = np.array([0.0, 1, 3, 5, 10, 20, 30, 50, 100])
CURVES = {
    "flat": 0 * EPOCHS,
    "linear": EPOCHS / 100,
    "saturating": 1 - np.exp(-EPOCHS / 10),
    "U": np.where(EPOCHS < 20, -EPOCHS / 20, -1 + (EPOCHS - 20) / 80),
    "inverted U": np.where(EPOCHS < 20, EPOCHS / 20, 1 - (EPOCHS - 20) / 80),
}


def drawn(curve: np.ndarray, seed: int, documents: int = 20, noise: float = 0.3) -> str:
    random = np.random.default_rng(seed)
    values = curve[:, None] + noise * random.normal(size=(9, documents)) + random.normal(size=documents)
    return shape_of(EPOCHS, values, random).name


@pytest.mark.parametrize("name", CURVES)
def test_planted_shapes_are_named(name: str) -> None:
    """At least 36 of 40 draws (at a chance of 0.95 each, 34 or fewer have a probability below 1%)."""
    assert sum(drawn(CURVES[name], seed) == name for seed in range(40)) >= 35


@pytest.mark.parametrize("scale", [3.0, 10.0, 30.0])
def test_a_saturating_curve_is_hardly_ever_a_turn(scale: float) -> None:
    """200 draws: stated is at most 1%; 7 or more would have a probability below 0.5% (binomial)."""
    turns = sum(drawn(1 - np.exp(-EPOCHS / scale), seed) in ("U", "inverted U") for seed in range(200))
    assert turns <= 6


def test_a_parabola_calls_the_same_curve_a_turn() -> None:
    """Why all this: by AICc over constant, line and parabola, with a vertex inside, most saturating curves 'turn'."""

    def called(seed: int) -> bool:
        random = np.random.default_rng(seed)
        y = 1 - np.exp(-EPOCHS / 10) + 0.3 / np.sqrt(20) * random.normal(size=9)
        best, turn = np.inf, False
        for degree in (0, 1, 2):
            weights = np.polyfit(EPOCHS, y, degree)
            k = degree + 2
            rest = ((y - np.polyval(weights, EPOCHS)) ** 2).sum()
            aicc = 9 * np.log(rest / 9) + 2 * k + 2 * k * (k + 1) / (9 - k - 1)
            if aicc < best:
                best, turn = aicc, degree == 2 and 0 < -weights[1] / (2 * weights[0]) < 100
        return bool(turn)

    assert sum(called(seed) for seed in range(100)) > 50


def test_a_layer_that_is_no_number_is_not_measured_and_not_flat() -> None:
    found = shape_of(EPOCHS, np.full((9, 20), np.nan), np.random.default_rng(0))
    assert (found.name, found.why) == ("not assessable", "not measured: it is no number in any document")


def test_the_verdict_names_a_layer_that_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(epochs=tuple(EPOCHS))
    monkeypatch.setattr(Shape, "passages", lambda self, run: made)
    run: Any = None
    assert Shape().analyze(run).verdict == "no layer turns"
    made.score[:, 1] = np.nan
    assert Shape().analyze(run).verdict == "no layer turns; not measured: blocks [1]"
    made.score[:] = np.nan
    assert Shape().analyze(run).verdict == "not assessable: compression is no number at some checkpoint in every layer"


def test_fewer_than_six_checkpoints_cannot_turn() -> None:
    random = np.random.default_rng(0)
    curve = np.array([0.0, -1, -1, 0, 1])
    found = shape_of(np.arange(5.0), curve[:, None] + 0.01 * random.normal(size=(5, 20)), random)
    assert found.name == "linear"
    assert "lacks 6 checkpoints" in found.why


def test_a_turn_must_recur() -> None:
    assert recurs(["U"] * 5) == "U"
    assert recurs(["U", "U", "U", "U", "flat"]) == "U"
    assert recurs(["U", "U", "U", "flat", "flat"]) == "flat"
    assert recurs(["U", "U", "U", "U", "inverted U"]) == "not assessable"  # chance brings both
    assert recurs(["inverted U"] * 4 + ["flat"]) == "inverted U"
    assert recurs(["U"]) == "not assessable"
    assert recurs(["linear", "linear", "saturating"]) == "linear"


def beside_novel(seed: int, trained: int, novel: int, rise: float = 0.0) -> Passages:
    """Documents whose compression wanders by 0.3 at each checkpoint; that of trained ones rises by `rise`."""
    random = np.random.default_rng(seed)
    documents, epochs = trained + novel, (0.0, 1, 2, 3, 5, 8, 12, 20)
    made = table(epochs=epochs, passages=documents // 2, layers=1)
    score = random.normal(0, 0.3, (len(epochs), 1, documents))
    is_trained = np.arange(documents) < trained
    score += rise * np.linspace(0, 1, len(epochs))[:, None, None] * is_trained
    return replace(made, score=score, trained=is_trained)


def test_what_few_novel_documents_do_is_no_shape_of_the_trained() -> None:
    """60 draws: 3 expected at 5%; 9 or more have a probability of 0.4%. Their mean taken as known: 37 to 55 of 60."""
    for trained, novel in ((40, 10), (30, 4)):
        named = [Shape().judge(beside_novel(seed, trained, novel)).numbers["shapes"]["epoch"] for seed in range(60)]
        assert sum(shape.name != "flat" for (shape,) in named) <= 8


def test_a_rise_beyond_novel_text_is_found() -> None:
    """A rise of 1 where the difference of means has a standard error of sqrt(2) 0.3 sqrt(1 / 20 + 1 / 20) = 0.13."""
    found = Shape().judge(beside_novel(0, 20, 20, rise=1.0))
    (shape,) = found.numbers["shapes"]["epoch"]
    assert shape.name in ("linear", "saturating")
    assert shape.change == pytest.approx(1, abs=0.4)


def test_too_few_documents_for_a_turn_are_not_called_no_turn() -> None:
    few = Shape().judge(beside_novel(0, 20, 6)).verdict
    assert few == (
        "whether a layer turns is not assessable: lacks 8 novel documents or more: there are 6; take the novel probe "
        "set from more documents"
    )
