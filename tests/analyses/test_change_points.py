"""A planted change of slope is found where it is; lines and noise have none."""

import numpy as np
import pytest

from ontogeny.analyses._change_points import change_point, slope
from tests.analyses.items import items

STEP = np.arange(16) * 10


def test_a_slope_by_hand() -> None:
    """2 nats over 150 steps, a straight line: 4 / 3 nats per 100 steps."""
    found = slope(items(np.linspace(0, 2, 16), noise=0.0, step=STEP))
    assert found.value == pytest.approx(4 / 3)
    assert found.high - found.low < 1e-9


def test_a_planted_change_point() -> None:
    """Flat to step 70, then 1 nat per 100 steps."""
    found = change_point(items(np.maximum(STEP - 70, 0) / 100, step=STEP, noise=0.05), np.random.default_rng(0))
    assert found["claimed"]
    assert found["low"] - 10 <= 70 <= found["high"] + 10
    assert found["before"].low <= 0 <= found["before"].high
    assert found["after"].value == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_neither_noise_nor_a_line_has_one(rise: float) -> None:
    """200 draws at 5%: 10 expected, 20 or more have 0.3%."""
    claims = 0
    for seed in range(200):
        made = items(rise * STEP / 150, seed, step=STEP, documents=12)
        claims += change_point(made, np.random.default_rng(seed))["claimed"]
    assert claims <= 19


def test_too_little_is_said() -> None:
    random = np.random.default_rng(0)
    assert change_point(items(np.zeros(5)), random)["lacks"] == (
        "8 checkpoints or more: there are 5; measure at 8 or more"
    )
    assert change_point(items(np.zeros(9), documents=1), random)["lacks"] == (
        "4 documents or more: there is 1; take the probe set from more documents"
    )
    assert "--kind token_nll" in change_point(items(np.zeros(9), documents=1, items=0), random)["lacks"]
