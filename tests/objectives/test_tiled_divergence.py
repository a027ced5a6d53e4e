"""Tiles give what the whole gives: values and gradients, over all ids and over the most probable ones."""

import pytest
import torch

from ontogeny.objectives import tiled_divergence
from ontogeny.objectives.divergence import Direction, Divergence
from ontogeny.objectives.tiled_divergence import TargetTile, summed, tempered, top_k_of

KINDS: list[Direction] = ["forward", "reverse", "jensen_shannon"]
V = 11


def drawn(seed: int, rows: int = 6, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, V, generator=generator, dtype=torch.float64)


def compared(
    student: torch.Tensor, teacher: torch.Tensor, divergence: Divergence, temperature: float, k: int | None = None
) -> torch.Tensor:
    """Of positions 0, 2, 3 and 5."""

    def targets(rows: torch.Tensor) -> TargetTile:
        log_p = tempered(teacher[rows], temperature, V)
        return TargetTile(log_p=log_p) if k is None else top_k_of(log_p, k)

    positions = torch.tensor([0, 2, 3, 5])
    return summed(student, positions, targets, divergence, temperature=temperature, vocabulary=V)


@pytest.mark.parametrize("rows_per_tile", [1, 3, 100])
@pytest.mark.parametrize("direction", KINDS)
@pytest.mark.parametrize("k", [None, 1, 4])
def test_gradients_are_those_of_finite_differences(
    direction: Direction, k: int | None, rows_per_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float64, central differences, every logit; positions that do not count get exactly 0."""
    monkeypatch.setattr(tiled_divergence, "TILE", rows_per_tile * V)
    student, teacher = drawn(0).requires_grad_(), drawn(1)
    divergence = Divergence(direction=direction, beta=0.3)
    compared(student, teacher, divergence, 1.7, k).backward()
    assert student.grad is not None
    assert (student.grad[[1, 4]] == 0).all()
    for row in (0, 3):
        for i in range(V):
            shift = torch.zeros_like(student)
            shift[row, i] = 1e-6
            with torch.no_grad():
                above = compared(student + shift, teacher, divergence, 1.7, k)
                below = compared(student - shift, teacher, divergence, 1.7, k)
            assert student.grad[row, i].item() == pytest.approx(((above - below) / 2e-6).item(), abs=1e-8)


@pytest.mark.parametrize("direction", KINDS)
def test_tiles_change_nothing(direction: Direction, monkeypatch: pytest.MonkeyPatch) -> None:
    student, teacher, divergence = drawn(0), drawn(1), Divergence(direction=direction)
    whole = compared(student, teacher, divergence, 2.0)
    monkeypatch.setattr(tiled_divergence, "TILE", 1)
    assert compared(student, teacher, divergence, 2.0).item() == pytest.approx(whole.item(), rel=1e-12)


def test_top_k_with_a_rest_by_hand() -> None:
    """P = (.5, .3, .1, .1), top 2 and the rest .2; Q uniform, so .25, .25 and the rest .5.

    Forward KL: .5 ln 2 + .3 ln 1.2 + .2 ln .4.
    """
    log_p = torch.tensor([[0.5, 0.3, 0.1, 0.1]], dtype=torch.float64).log()
    student = torch.zeros(1, 4, dtype=torch.float64)
    total = summed(
        student, torch.tensor([0]), lambda rows: top_k_of(log_p[rows], 2), Divergence(direction="forward"), vocabulary=4
    )
    by_hand = 0.5 * torch.tensor(2.0).log() + 0.3 * torch.tensor(1.2).log() + 0.2 * torch.tensor(0.4).log()
    assert total.item() == pytest.approx(by_hand.item(), rel=1e-6)


@pytest.mark.parametrize("direction", KINDS)
@pytest.mark.parametrize("temperature", [0.3, 1.0, 5.0])
def test_buckets_never_say_more_than_ids(direction: Direction, temperature: float) -> None:
    """Data processing: merging ids into one bucket lowers every f-divergence; with all ids it is the full one."""
    for seed in range(20):
        student, teacher = drawn(2 * seed), drawn(2 * seed + 1)
        divergence = Divergence(direction=direction)
        full = compared(student, teacher, divergence, temperature).item()
        by_k = [compared(student, teacher, divergence, temperature, k).item() for k in (1, 3, 6, V - 1)]
        assert by_k[0] >= 0
        assert all(low <= high + 1e-12 for low, high in zip(by_k, [*by_k[1:], full], strict=True))
        assert by_k[-1] == pytest.approx(full, rel=1e-9)  # a rest of one id is that id


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("direction", KINDS)
def test_a_teacher_like_the_student_teaches_nothing(direction: Direction, k: int | None) -> None:
    student = drawn(3).float().requires_grad_()
    total = compared(student, student.detach(), Divergence(direction=direction), 3.0, k)
    total.backward()
    assert 0 <= total.item() < 1e-6
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-6


def test_ids_behind_the_vocabulary_have_no_part() -> None:
    """A student with 4 more rows in its head: same value, and no gradient into them."""
    student, teacher = drawn(0), drawn(1)
    wider = torch.cat([student, 50 * torch.ones(6, 4, dtype=torch.float64)], dim=1).requires_grad_()
    divergence = Divergence(direction="reverse")
    total = compared(wider, teacher, divergence, 1.3)
    assert total.item() == compared(student, teacher, divergence, 1.3).item()
    total.backward()
    assert wider.grad is not None
    assert (wider.grad[:, V:] == 0).all()
    assert wider.grad[:, :V].abs().sum() > 0


def test_logits_of_minus_infinity_are_probability_0() -> None:
    """As some models mark ids that do not exist; on both sides."""
    student, teacher = drawn(0), drawn(1)
    student[:, 4] = teacher[:, 4] = -torch.inf
    kept = [i for i in range(V) if i != 4]
    for direction in KINDS:
        divergence = Divergence(direction=direction)
        student.requires_grad_()
        total = compared(student, teacher, divergence, 1.0)
        (gradient,) = torch.autograd.grad(total, student)
        student = student.detach()
        log_p, log_q = (logits[[0, 2, 3, 5]][:, kept].log_softmax(-1) for logits in (teacher, student))
        assert total.item() == pytest.approx(divergence.values(log_p, log_q).sum().item(), rel=1e-9)
        assert torch.isfinite(gradient).all()


def test_the_gradient_can_be_asked_for_twice() -> None:
    """As a look at the terms does before training calls backward."""
    student, teacher = drawn(0).requires_grad_(), drawn(1)
    total = compared(student, teacher, Divergence(direction="forward"), 2.0)
    first = torch.autograd.grad(3 * total, student, retain_graph=True)[0]
    second = torch.autograd.grad(total, student)[0]
    assert torch.allclose(first, 3 * second, rtol=1e-12)


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = drawn(0), drawn(1)
    half = student.bfloat16().requires_grad_()
    total = compared(half, teacher.bfloat16(), Divergence(direction="forward"), 1.0)
    total.backward()
    exact = compared(half.detach().double(), teacher.bfloat16().double(), Divergence(direction="forward"), 1.0)
    assert total.dtype == torch.float32
    assert total.item() == pytest.approx(exact.item(), rel=1e-5)
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
