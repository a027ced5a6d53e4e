"""Derivatives on uneven grids: exact on parabolas; signs and knees where they are planted."""

import numpy as np
import pytest

from ontogeny.analyses.velocity import Velocity, acceleration, sign_changes, velocity
from tests.analyses.tables import EPOCHS, table

X = np.array([0.0, 1, 3, 4, 8])


def test_parabolas_are_exact_inside() -> None:
    """y = 2 x^2 - 3 x: y' = 4 x - 3, y'' = 4."""
    y = 2 * X**2 - 3 * X
    assert velocity(X, y)[1:-1] == pytest.approx(4 * X[1:-1] - 3)
    assert acceleration(X, y)[1:-1] == pytest.approx([4, 4, 4])
    assert np.isnan(acceleration(X, y)[[0, -1]]).all()


def test_sign_changes_by_hand() -> None:
    """Rises, unclear, falls, rises: two changes. What is never clear changes never."""
    low = np.array([[1.0, -1, -2, 1], [-1, -1, -1, -1]])
    high = np.array([[2.0, 1, -1, 2], [1, 1, 1, 1]])
    assert sign_changes(low, high).tolist() == [2, 0]


def test_a_turn_and_its_change_point() -> None:
    """Rises to epoch 10, then falls: one change of sign in each layer, and a knee near 10."""
    made = table(noise=0.05)
    x = np.log1p(np.array(EPOCHS))
    tent = np.where(x < np.log(11), x, 2 * np.log(11) - x)
    result = Velocity().differentiate(table(noise=0.05, score=made.score + tent[:, None, None]))
    assert result.numbers["sign_changes"] == [1, 1, 1]
    for at, low, high in result.numbers["change_points"]:
        assert np.expm1(at) == pytest.approx(10)
        assert low <= at <= high


def test_noise_does_not_turn() -> None:
    result = Velocity().differentiate(table(noise=0.1))
    assert result.numbers["sign_changes"] == [0, 0, 0]
    assert sum(one is not None for one in result.numbers["change_points"]) <= 1


def test_what_stands_still_has_a_velocity_of_exactly_zero() -> None:
    """The uneven grid leaves 1e-16 of a constant, which bands of no width would bear out as changes of sign."""
    made = table(score=np.full((len(EPOCHS), 3, 80), -5.123))
    found = Velocity().differentiate(made)
    assert (found.numbers["velocity"] == 0).all()
    assert found.verdict.startswith("velocity changes its sign in 0 of 3 layers")
