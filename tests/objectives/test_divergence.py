"""Divergences by hand, never below 0, and slopes against finite differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.objectives.divergence import Direction, Divergence, kl

KINDS: list[Direction] = ["forward", "reverse", "jensen_shannon"]


def rows(*probabilities: list[float]) -> torch.Tensor:
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_by_hand() -> None:
    """P = (3/4, 1/4), Q = (1/2, 1/2).

    KL(P || Q) = 3/4 ln(3/2) + 1/4 ln(1/2); KL(Q || P) = 1/2 ln(2/3) + 1/2 ln 2; and with beta = 1/2, M = (5/8, 3/8):
    1/2 [3/4 ln(6/5) + 1/4 ln(2/3)] + 1/2 [1/2 ln(4/5) + 1/2 ln(4/3)].
    """
    p, q = rows([0.75, 0.25]), rows([0.5, 0.5])
    forward = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    reverse = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    half_p = 0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3)
    half_q = 0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3)
    assert Divergence(direction="forward").values(p, q).item() == pytest.approx(forward, rel=1e-12)
    assert Divergence(direction="reverse").values(p, q).item() == pytest.approx(reverse, rel=1e-12)
    both = Divergence(direction="jensen_shannon").values(p, q).item()
    assert both == pytest.approx(0.5 * half_p + 0.5 * half_q, rel=1e-12)


@pytest.mark.parametrize(("limit", "beta"), [("forward", 1e-6), ("reverse", 1 - 1e-6)])
def test_jensen_shannon_tends_to_the_two_kl(limit: Direction, beta: float) -> None:
    p, q = rows([0.7, 0.2, 0.1]), rows([0.3, 0.3, 0.4])
    scale = beta if limit == "forward" else 1 - beta
    tending = Divergence(direction="jensen_shannon", beta=beta).values(p, q).item() / scale
    assert tending == pytest.approx(Divergence(direction=limit).values(p, q).item(), rel=1e-4)


@given(st.integers(0, 10_000), st.integers(2, 300), st.sampled_from([0.0, 1e-7, 1e-4, 1e-2, 1.0, 30.0]))
@settings(max_examples=120, deadline=None)
def test_never_below_0_in_float32(seed: int, buckets: int, apart: float) -> None:
    """From equal to far apart, without a clamp; the sum as it is usually taken does fall below 0 (see below)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(8, buckets, generator=generator)
    log_p = logits.log_softmax(-1)
    log_q = (logits + apart * torch.randn(8, buckets, generator=generator)).log_softmax(-1)
    for direction in KINDS:
        values = Divergence(direction=direction).values(log_p, log_q)
        assert (values >= 0).all()
        if apart == 0:
            assert (values <= (1e-12 if direction == "jensen_shannon" else 0.0)).all()  # log M is rounded


def test_the_usual_sum_falls_below_0() -> None:
    """Why `kl` does not stop at it: equal to 7 digits, the sum of p log(p / q) is rounding, of either sign."""
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(64, 300, generator=generator)
    log_p = logits.log_softmax(-1)
    log_q = (logits + 1e-7 * torch.randn(64, 300, generator=generator)).log_softmax(-1)
    assert ((log_p.exp() * (log_p - log_q)).sum(-1) < 0).any()
    exact = kl(log_p.double().log_softmax(-1), log_q.double().log_softmax(-1))
    assert (kl(log_p, log_q) >= 0).all()
    assert exact.max() < 1e-12


def test_small_divergences_keep_their_digits() -> None:
    """float32 against float64 on the same inputs, where the KL is about 1e-6."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(16, 500, generator=generator, dtype=torch.float64)
    log_p = logits.log_softmax(-1)
    log_q = (logits + 2e-3 * torch.randn(16, 500, generator=generator, dtype=torch.float64)).log_softmax(-1)
    exact = kl(log_p, log_q)
    assert 1e-7 < exact.min() < exact.max() < 1e-5
    assert torch.allclose(kl(log_p.float(), log_q.float()).double(), exact, rtol=2e-3)


def test_impossible_buckets_count_nothing() -> None:
    """Probability 0 on both sides, as logits of -1e4 have it: the same as without the bucket."""
    with_gap = torch.tensor([[0.3, -1.0, -1e4]]).log_softmax(-1), torch.tensor([[-0.5, 0.2, -1e4]]).log_softmax(-1)
    without = torch.tensor([[0.3, -1.0]]).log_softmax(-1), torch.tensor([[-0.5, 0.2]]).log_softmax(-1)
    for direction in KINDS:
        divergence = Divergence(direction=direction)
        assert divergence.values(*with_gap).item() == pytest.approx(divergence.values(*without).item(), rel=1e-5)
        assert divergence.slopes(*with_gap)[0, 2].item() == 0.0


@pytest.mark.parametrize("direction", KINDS)
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_slopes_are_the_derivatives(direction: Direction, beta: float) -> None:
    """Central differences in float64 by each logit of Q."""
    generator = torch.Generator().manual_seed(2)
    log_p = torch.randn(3, 7, generator=generator, dtype=torch.float64).log_softmax(-1)
    logits = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    divergence = Divergence(direction=direction, beta=beta)
    slopes = divergence.slopes(log_p, logits.log_softmax(-1))
    for i in range(7):
        shift = torch.zeros(7, dtype=torch.float64)
        shift[i] = 1e-6
        above = divergence.values(log_p, (logits + shift).log_softmax(-1))
        below = divergence.values(log_p, (logits - shift).log_softmax(-1))
        assert torch.allclose(slopes[:, i], (above - below) / 2e-6, atol=1e-8)
