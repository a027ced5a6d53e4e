"""Tiles give what the whole gives: values and gradients, over all ids and over the most probable ones."""

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ontogeny.objectives import tiled_divergence
from ontogeny.objectives.divergence import Direction, Divergence
from ontogeny.objectives.tiled_divergence import DivergenceSettings, Mixture, Teaching
from ontogeny.objectives.tiled_divergence import compared as both_sums

KINDS: list[Direction] = ["forward", "reverse", "jensen_shannon"]
V = 11


def drawn(seed: int, rows: int = 6, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, V, generator=generator, dtype=torch.float64)


def compared(
    student: torch.Tensor, teacher: torch.Tensor, divergence: Divergence, temperature: float, k: int | None = None
) -> torch.Tensor:
    """Of positions 0, 2, 3 and 5."""

    comparison = DivergenceSettings(divergence=divergence, temperature=temperature, top_k=k, vocabulary=V)
    return both_sums(student, torch.tensor([0, 2, 3, 5]), teaching(teacher), comparison)[0]


def teaching(teacher: torch.Tensor) -> Teaching:
    """One teacher, whose logits are these."""
    return lambda positions: Mixture(logits=(teacher[positions],), weights=(1.0,), vocabulary=V)


@pytest.mark.parametrize("rows_per_tile", [1, 3, 100])
@pytest.mark.parametrize("direction", KINDS)
@pytest.mark.parametrize("k", [None, 1, 4])
def test_gradients_are_those_of_finite_differences(
    direction: Direction, k: int | None, rows_per_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float64, central differences, every logit; positions that do not count get exactly 0."""
    monkeypatch.setattr(tiled_divergence, "TILE", rows_per_tile * V)
    monkeypatch.setattr(tiled_divergence, "ROWS", 2 * rows_per_tile)
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
    comparison = DivergenceSettings(divergence=Divergence(direction="forward"), top_k=2, vocabulary=4)
    total = both_sums(student, torch.tensor([0]), teaching(log_p), comparison)[0]
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


WEIGHTS = {1: (1.0,), 2: (0.25, 0.75)}
"""Of so many teachers; unequal, so that top k has one reading where each is certain of an id of its own."""


def plain(
    student: torch.Tensor, teachers: list[torch.Tensor], kind: Direction, temperature: float, k: int | None
) -> tuple[float, torch.Tensor]:
    """The sum over all rows and its gradient, by autograd over whole softmaxes in float64, with beta 0.3."""
    logits = student.detach().double().clone().requires_grad_()
    log_q = (logits / temperature).log_softmax(-1)
    weighted = zip(WEIGHTS[len(teachers)], teachers, strict=True)
    log_p = torch.stack([(t.double() / temperature).log_softmax(-1) + math.log(w) for w, t in weighted]).logsumexp(0)
    if k is not None:
        own = torch.zeros_like(log_p, dtype=torch.bool).scatter_(1, log_p.topk(k).indices, True)
        ids = own.nonzero()[:, 1].view(-1, k)

        def merged(log: torch.Tensor) -> torch.Tensor:
            rest = log.masked_fill(own, -torch.inf).logsumexp(-1, keepdim=True)
            return torch.cat([log.gather(1, ids), rest], dim=1)

        log_p, log_q = merged(log_p), merged(log_q)

    def kl(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.exp() * (a - b)).sum()

    if kind == "jensen_shannon":
        log_m = (log_p + math.log(0.3)).logaddexp(log_q + math.log(0.7))
        total = 0.3 * kl(log_p, log_m) + 0.7 * kl(log_q, log_m)
    else:
        total = kl(log_p, log_q) if kind == "forward" else kl(log_q, log_p)
    total.backward()
    assert logits.grad is not None
    return total.item(), logits.grad


def of_all_rows(
    student: torch.Tensor, teachers: list[torch.Tensor], kind: Direction, temperature: float, k: int | None
) -> tuple[float, torch.Tensor]:
    """The same by tiles."""
    logits = student.detach().clone().requires_grad_()
    comparison = DivergenceSettings(
        divergence=Divergence(direction=kind, beta=0.3), temperature=temperature, top_k=k, vocabulary=V
    )

    def teaching(positions: torch.Tensor) -> Mixture:
        return Mixture(logits=tuple(t[positions] for t in teachers), weights=WEIGHTS[len(teachers)], vocabulary=V)

    total = both_sums(logits, torch.arange(len(logits)), teaching, comparison)[0]
    total.backward()
    assert logits.grad is not None
    return total.item(), logits.grad


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("shift", [-2e4, 0.0, 2e4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_shift_of_all_logits_changes_nothing(kind: Direction, shift: float, k: int | None) -> None:
    """softmax(z + c) = softmax(z), in float32, with logits in eighths, which a shift of 20,000 leaves exact."""
    student, teacher = ((8 * drawn(seed)).round() / 8 for seed in (0, 1))
    teacher += torch.arange(V) / 64  # no ties: top k has one reading
    teacher = (64 * teacher).round() / 64
    expected, gradient = plain(student, [teacher], kind, 0.5, k)
    total, own = of_all_rows((student + shift).float(), [(teacher + shift / 4).float()], kind, 0.5, k)
    assert total == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(own.double(), gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("teachers", [1, 2])
@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_too_small_for_a_number_count_by_their_logs(
    kind: Direction, k: int | None, teachers: int
) -> None:
    """Logits that stand hundreds of nats apart: e^-200 is 0 in float32, its log is not, nor is the pull towards it."""
    student, *taught = (drawn(seed, scale=150.0).float() for seed in range(1 + teachers))
    expected, gradient = plain(student, taught, kind, 1.0, k)
    total, own = of_all_rows(student, taught, kind, 1.0, k)
    assert total == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(own.double(), gradient, rtol=1e-4, atol=1e-4)


def test_a_second_derivative_is_refused() -> None:
    """The kept gradient knows nothing of the logits: without refusal its derivative would be taken to be 0."""
    student, teacher = drawn(0).requires_grad_(), drawn(1)
    total = compared(student, teacher, Divergence(direction="forward"), 1.0)
    with pytest.raises(RuntimeError, match="has no second derivative"):
        torch.autograd.grad(total, student, create_graph=True)


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


@pytest.mark.parametrize("rows_per_tile", [1, 2, 100])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_kl_at_1_of_every_so_many_th_position(
    every: int, rows_per_tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 4 positions: all; the first and the third, times 4 / 2; the first and the fourth, times 4 / 2."""
    monkeypatch.setattr(tiled_divergence, "TILE", rows_per_tile * V)
    monkeypatch.setattr(tiled_divergence, "ROWS", rows_per_tile)
    student, teacher = drawn(0), drawn(1)
    positions = torch.tensor([0, 2, 3, 5])
    p, q = (logits[positions].log_softmax(-1) for logits in (teacher, student))
    of_each = (p.exp() * (p - q)).sum(-1)
    expected = of_each[::every].sum() * 4 / len(of_each[::every])
    for temperature in (1.0, 2.0):
        comparison = DivergenceSettings(
            divergence=Divergence(direction="forward"), temperature=temperature, vocabulary=V, every=every
        )
        at_1 = both_sums(student, positions, teaching(teacher), comparison)[1]
        assert at_1.item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_gradient_of_one_backward_pass_takes_no_second_copy() -> None:
    """Scaled in its own memory; where the graph is kept, in other memory, since it may be asked for again."""
    student, teacher = drawn(0).requires_grad_(), drawn(1)
    comparison = DivergenceSettings(divergence=Divergence(direction="forward"), vocabulary=V)
    total = both_sums(student, torch.tensor([0, 2]), teaching(teacher), comparison)[0]
    kept = total.grad_fn.gradient  # type: ignore[union-attr] # of `_Compared`
    (again,) = torch.autograd.grad(3 * total, student, retain_graph=True)
    assert again.data_ptr() != kept.data_ptr()
    (gradient,) = torch.autograd.grad(3 * total, student)
    assert gradient.data_ptr() == kept.data_ptr()
    assert torch.equal(gradient, again)


def test_one_exponential_a_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the forward KL with its gradient: one softmax of each side and no other exponential, whatever is compared."""
    calls = {"softmax": 0, "exp": 0}
    for name in calls:
        usual = getattr(torch.Tensor, name)

        def counted(*args: object, name: str = name, usual: Callable[..., torch.Tensor] = usual) -> torch.Tensor:
            calls[name] += 1
            return usual(*args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    compared(drawn(0).requires_grad_(), drawn(1), Divergence(direction="forward"), 1.0).backward()
    assert calls == {"softmax": 2, "exp": 0}


class LargeTensors(TorchDispatchMode):
    """Counts how many tensors of at least `size` numbers exist at once, views and `others` left out."""

    def __init__(self, size: int, others: torch.Tensor) -> None:
        super().__init__()
        self.size, self.others, self.peak = size, others.data_ptr(), 0
        self._made: list[weakref.ref[torch.Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        for tensor in given if isinstance(given, tuple | list) else [given]:
            if isinstance(tensor, torch.Tensor) and tensor.numel() >= self.size:
                self._made.append(weakref.ref(tensor))
        alive = {tensor.data_ptr() for made in self._made if (tensor := made()) is not None}
        self.peak = max(self.peak, len(alive - {self.others}))
        return given


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("direction", KINDS)
def test_in_full_there_is_the_gradient_alone(
    direction: Direction, k: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the student's logits [64, 11]: of all else a tile of 4 rows, or the teacher's block of 8."""
    monkeypatch.setattr(tiled_divergence, "TILE", 4 * V)
    monkeypatch.setattr(tiled_divergence, "ROWS", 8)
    student, head, hidden = drawn(0, rows=64).requires_grad_(), drawn(1, rows=5), drawn(2, rows=64)[:, :5]
    comparison = DivergenceSettings(
        divergence=Divergence(direction=direction), temperature=2.0, top_k=k, vocabulary=V, every=2
    )

    def teaching(positions: torch.Tensor) -> Mixture:
        return Mixture(logits=(hidden[positions] @ head,), weights=(1.0,), vocabulary=V)

    with LargeTensors(32 * V, student) as large:
        both_sums(student, torch.arange(1, 64), teaching, comparison)[0].backward()
    assert large.peak == 1


def test_whole_softmaxes_would_be_counted() -> None:
    """The twin of the test above: the usual loss has log P, P, log Q and gradients at once."""
    student, teacher = drawn(0, rows=64).requires_grad_(), drawn(1, rows=64)
    with LargeTensors(32 * V, student) as large:
        p = teacher.softmax(-1)
        torch.nn.functional.kl_div(student.log_softmax(-1), p, reduction="sum").backward()
    assert large.peak >= 3
