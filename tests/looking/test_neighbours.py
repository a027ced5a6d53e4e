"""Nearest neighbours and their variance: by hand, against brute force in float64 and scikit-learn, and with ties."""

import math

import numpy as np
import pytest
import torch

from ontogeny.looking import neighbours
from ontogeny.looking.neighbours import Spread, nearest


def brute_force(states: torch.Tensor, k: int) -> list[list[int]]:
    """The k nearest of each row by float64 differences, ties by index, row by row."""
    exact = states.double().numpy()
    rows = []
    for i, state in enumerate(exact):
        distances = ((exact - state) ** 2).sum(axis=1)
        distances[i] = np.inf
        rows.append(sorted(np.argsort(distances, kind="stable")[:k].tolist()))
    return rows


def with_outliers(count: int) -> torch.Tensor:
    """Standard normal noise in 48 dimensions; two of them also jump by 3,000 or -3,000, as in some language models."""
    random = torch.Generator().manual_seed(0)
    states = torch.randn(count, 48, generator=random)
    states[:, [3, 40]] += 3000 * torch.randn(count, 2, generator=random).sign()
    return states


def test_by_hand() -> None:
    """Five points on a line, at layer L: 0, 1, 3, 7, 15; at L + 1: 0, 2, 4, 10, 20; k = 2.

    Neighbours of 0: 1 and 3, next at 2 and 4, variance 1. Of 1: 0 and 3, at 0 and 4, variance 4. Of 3: 1 and 0, at 2
    and 0, variance 1. Of 7: 3 and 1, at 4 and 2: 1. Of 15: 7 and 3, at 10 and 4: 9.
    """
    at = torch.tensor([[0.0], [1.0], [3.0], [7.0], [15.0]])
    after = torch.tensor([[0.0], [2.0], [4.0], [10.0], [20.0]])
    assert Spread(after).of(nearest(at, 2)).tolist() == pytest.approx([1, 4, 1, 1, 9])


@pytest.mark.parametrize("kind", ["noise", "clusters", "outliers", "many equal", "few", "offset"])
@pytest.mark.parametrize("in_blocks", [False, True])
def test_neighbours_equal_brute_force(kind: str, in_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once and in blocks. Outliers of 3,000 give float32 products of 10^7, spaced by 1: wider than the gaps."""
    if in_blocks:
        monkeypatch.setattr(neighbours, "WHOLE_BYTES", 0)
        monkeypatch.setattr(neighbours, "STRIP_BYTES", 1 << 18)
    random = torch.Generator().manual_seed(0)
    states = torch.randn(1500, 48, generator=random)
    if kind == "clusters":
        states = states[:30].repeat_interleave(50, 0) + 1e-3 * states
    if kind == "outliers":
        states = with_outliers(1500)
    if kind == "many equal":
        states = states[:50].repeat(30, 1)
    if kind == "few":
        states = states[:16]
    if kind == "offset":
        states = states + 100
    assert [sorted(row) for row in nearest(states, 15).tolist()] == brute_force(states, 15)


def test_plain_float32_picks_other_neighbours_at_outliers() -> None:
    """The outlier treatment is needed: without it most rows differ, although the states are centred."""
    states = with_outliers(800)
    states = states - states.mean(dim=0)
    squares = states.square().sum(dim=1)
    plain = squares[:, None] + squares[None] - 2 * states @ states.T
    plain.fill_diagonal_(math.inf)
    by_float32 = [sorted(row) for row in plain.argsort(dim=1)[:, :15].tolist()]
    assert sum(row != exact for row, exact in zip(by_float32, brute_force(states, 15), strict=True)) > 400


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_neighbours_equal_scikit_learn(metric: str) -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    states = torch.randn(600, 24, generator=torch.Generator().manual_seed(1))
    index = neighbors.NearestNeighbors(n_neighbors=16, metric=metric, algorithm="brute").fit(states.double().numpy())
    with_itself = index.kneighbors(states.double().numpy(), return_distance=False)
    searched = states / states.norm(dim=1, keepdim=True) if metric == "cosine" else states
    assert [sorted(row) for row in nearest(searched, 15).tolist()] == [
        sorted(j for j in row if j != i)[:15] for i, row in enumerate(with_itself.tolist())
    ]


def test_spread_of_equal_and_of_nearly_equal_states() -> None:
    """Equal states: exactly 0. 2e-3 apart at a norm of 2e4: the squares cancel 14 digits, and 1e-6 still holds."""
    states = torch.full((6, 3), 1e4)
    neighbours = torch.tensor([[1, 2, 3], [2, 3, 4]])
    assert Spread(states).of(neighbours).tolist() == [0, 0]
    states[1, 0] = 1e4 + 2**-9
    exact = states[neighbours[0]].double().var(dim=0, correction=0).sum()
    assert Spread(states).of(neighbours)[0] == pytest.approx(float(exact), rel=1e-6)
