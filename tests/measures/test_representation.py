"""Shapes of states: by hand, against the definitions written out, and on states whose relation is known."""

import numpy as np
import pytest
import torch

from ontogeny.measures.representation import Representation, cka, described_states
from ontogeny.models.weights import effective_weights, twin
from tests.measures.small import make_context, make_model, random_probe


def written_out(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased HSIC of Song et al. 2012, eq. 5, on Gram matrices with their diagonals removed."""

    def hsic(x: np.ndarray, y: np.ndarray) -> float:
        n = len(x)
        k, m = x @ x.T, y @ y.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        ones = np.ones(n)
        middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return float((np.trace(k @ m) + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


@pytest.mark.parametrize(("n", "width"), [(40, 12), (12, 40)])
def test_cka_equals_the_definition_in_both_spaces(n: int, width: int) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(n, width)) + 3
    y = x @ random.normal(size=(width, width)) + random.normal(size=(n, width))
    assert cka(x, y) == pytest.approx(written_out(x, y), rel=1e-9)


def test_turned_scaled_and_shifted_states_are_the_same() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 10))
    turn = np.linalg.qr(random.normal(size=(10, 10)))[0]
    assert cka(x, 5 * x @ turn + 7) == pytest.approx(1)


def test_unrelated_states_are_about_zero() -> None:
    """100 pairs of noise: the mean is within 0.02 of 0. The plain CKA of 50 points in 20 dimensions is 0.28."""
    random = np.random.default_rng(2)
    similarities = [cka(random.normal(size=(50, 20)), random.normal(size=(50, 20))) for _ in range(100)]
    assert abs(np.mean(similarities)) < 0.02


def test_ranks_by_hand() -> None:
    """Four points at (+-3, 0) and (0, +-3): two equal singular values: rank 2, participation 2, condition 1."""
    states = np.array([[3.0, 0], [-3, 0], [0, 3], [0, -3]])
    described = described_states(states)
    assert described["effective_rank"] == pytest.approx(2)
    assert described["participation_ratio"] == pytest.approx(2)
    assert described["condition"] == pytest.approx(1)
    assert described["norm"] == 3
    # at (+-3, 0) and (0, +-1): s^2 is 18 and 2, so s are 3 to 1, shares 3/4 and 1/4, entropy 0.5623, exp 1.7548
    stretched = described_states(states * [1, 1 / 3])
    assert stretched["effective_rank"] == pytest.approx(1.7548, abs=1e-4)
    assert stretched["participation_ratio"] == pytest.approx(20**2 / (18**2 + 2**2))
    assert stretched["condition"] == pytest.approx(3)


def test_sparsity_by_hand() -> None:
    """One of four dimensions alone: Hoyer 1, Gini 1 - 1/4. All equal: 0 and 0."""
    alone = described_states(np.array([[0, 0, 5.0, 0], [0, -2.0, 0, 0]]))
    assert (alone["hoyer"], alone["gini"]) == pytest.approx((1, 0.75))
    flat = described_states(np.array([[2.0, -2, 2, 2], [1, 1, 1, -1]]))
    assert (flat["hoyer"], flat["gini"]) == pytest.approx((0, 0), abs=1e-12)


def test_against_earlier_checkpoints() -> None:
    """The first is the model itself: 1 at every layer. The previous has other weights: below 1 after a block."""
    model, other = make_model(seed=0), make_model(seed=1)
    probes = [random_probe("train", [40, 30]), random_probe("novel", [30], seed=1)]
    context = make_context(
        model, probes, first_weights=lambda: effective_weights(model), previous_weights=lambda: effective_weights(other)
    )
    observed = Representation(tokens=60).look(context).arrays
    assert observed.block.values.tolist() == [-1, 0, 1]
    assert observed.attrs["tokens"] == 60
    assert observed.cka_first.values == pytest.approx([1, 1, 1])
    assert (observed.cka_previous.values < 0.99).all()
    alone = Representation(tokens=60).look(make_context(model, probes)).arrays
    assert np.isnan(alone.cka_first.values).all()
    np.testing.assert_array_equal(alone.norm.values, observed.norm.values)


def test_a_twin_computes_what_its_weights_say() -> None:
    model, other = make_model(seed=0), make_model(seed=1)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        expected = other.eval()(input_ids=ids).logits
        assert torch.equal(twin(model, effective_weights(other))(input_ids=ids).logits, expected)
