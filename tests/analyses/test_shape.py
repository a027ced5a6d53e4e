"""Shapes that are there are named; a saturating curve is not called a U."""

from typing import Any

import numpy as np
import pytest

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
