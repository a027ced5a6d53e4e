"""Cached targets in the place of a teacher's logits: the same divergence, or one with the same mean."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from ontogeny.core.cached_targets import TargetForm, TargetRows
from ontogeny.core.errors import OntogenyError
from ontogeny.objectives.cached_targets import kept_of, taught_by
from ontogeny.objectives.divergence import Direction, Divergence
from ontogeny.objectives.tiled_divergence import DivergenceSettings, Mixture, Teaching, compared

V = 40
POSITIONS = torch.tensor([0, 1, 3, 4])
FORWARD = Divergence(direction="forward")


def logits(seed: int, rows: int = 6, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, V, generator=generator, dtype=torch.float64)


def cached(teacher: torch.Tensor, form: TargetForm, seed: int = 0) -> Teaching:
    """What a cache of these logits teaches at `POSITIONS`."""
    uniform = np.random.default_rng(seed).random((len(POSITIONS), form.samples or 0))
    rows = kept_of(teacher[POSITIONS], form, uniform)

    def read(name: str, dtype: type) -> torch.Tensor | None:
        return torch.from_numpy(rows[name].astype(dtype)) if name in rows.dtype.names else None

    ids = read("ids", np.int64)
    assert ids is not None
    kept = TargetRows(
        form=form,
        positions=POSITIONS,
        ids=ids,
        logits=read("logits", np.float32),
        rests=read("rests", np.float32),
        negative_entropy=read("negative_entropy", np.float32),
    )
    return lambda positions: taught_by(kept, positions)


def live(teacher: torch.Tensor) -> Teaching:
    return lambda positions: Mixture(logits=(teacher[positions],), weights=(1.0,), vocabulary=V)


def value_and_gradient(
    student: torch.Tensor, teaching: Teaching, positions: torch.Tensor = POSITIONS, **settings: Any
) -> tuple[float, torch.Tensor]:
    own = student.clone().requires_grad_()
    comparison = DivergenceSettings(**({"divergence": FORWARD, "every": None, "vocabulary": V} | settings))
    total, _ = compared(own, positions, teaching, comparison)
    total.backward()
    assert own.grad is not None
    return float(total.detach()), own.grad


@pytest.mark.parametrize("direction", ["forward", "reverse", "jensen_shannon"])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kept_logits_give_the_divergence_of_the_live_teacher(direction: Direction, temperature: float) -> None:
    """Logits lie up to some 10 below the greatest; float16 has 11 digits, so they are off by 2^-12 x 10 at most."""
    student, teacher = logits(0), logits(1)
    form = TargetForm(top_k=5, temperatures=(3.0, 1.0), vocabulary=V)
    settings = {"divergence": Divergence(direction=direction, beta=0.3), "temperature": temperature, "top_k": 5}
    value, gradient = value_and_gradient(student, cached(teacher, form), **settings)
    expected, by_live = value_and_gradient(student, live(teacher), **settings)
    assert value == pytest.approx(expected, rel=3e-3)
    assert (gradient - by_live).norm() < 3e-3 * by_live.norm()
    other, _ = value_and_gradient(student, live(teacher), **settings | {"top_k": 6})
    assert abs(other - expected) > 1e-2 * expected


def test_what_is_kept_by_hand() -> None:
    """Logits 1, 4, 2, 3: the two greatest are 4 and 3, less the greatest 0 and -1; the others are -3 and -2."""
    row = torch.tensor([[1.0, 4.0, 2.0, 3.0, 9.0]])
    kept = kept_of(row, TargetForm(top_k=2, temperatures=(1.0, 2.0), vocabulary=4))[0]
    assert kept["ids"].tolist() == [1, 3]
    assert kept["logits"].tolist() == [0.0, -1.0]
    rests = [np.log(np.exp(-3) + np.exp(-2)), np.log(np.exp(-1.5) + np.exp(-1))]
    assert kept["rests"] == pytest.approx(rests, rel=1e-6)


def test_what_is_drawn_by_hand() -> None:
    """P = (1/2, 1/4, 0, 1/4): of four draws, one in each quarter, two are id 0 whatever the uniform numbers are."""
    row = torch.tensor([[0.5, 0.25, 0.0, 0.25]]).log().repeat(3, 1)
    form = TargetForm(samples=4, temperatures=(1.0,), vocabulary=4)
    kept = kept_of(row, form, np.array([[0.0] * 4, [0.3, 0.9, 0.5, 0.1], [0.999] * 4]))
    assert kept["ids"].tolist() == [[0, 0, 1, 3]] * 3
    assert kept["negative_entropy"] == pytest.approx([0.5 * np.log(0.5) + 0.5 * np.log(0.25)] * 3, rel=1e-6)
    tempered = kept_of(row, TargetForm(samples=4, temperatures=(9.0,), vocabulary=4), np.full((3, 4), 0.5))
    assert tempered["ids"].tolist() != kept["ids"].tolist()


def test_the_gradient_of_draws_is_that_of_finite_differences() -> None:
    student, form = logits(0), TargetForm(samples=7, temperatures=(1.7,), vocabulary=V)
    teaching = cached(logits(1), form)
    _, gradient = value_and_gradient(student, teaching, temperature=1.7)
    assert (gradient[[2, 5]] == 0).all()
    for row in (0, 3):
        for i in range(V):
            ends = []
            for sign in (1, -1):
                moved = student.clone()
                moved[row, i] += sign * 1e-6
                ends.append(value_and_gradient(moved, teaching, temperature=1.7)[0])
            assert gradient[row, i].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7)


def interval(values: np.ndarray) -> tuple[float, float]:
    """99.9% t interval of the mean."""
    low, high = stats.t.interval(0.999, len(values) - 1, values.mean(), stats.sem(values))
    return float(low), float(high)


def test_the_mean_over_draws_is_the_full_divergence() -> None:
    """Over 300 seeds: the value, and the gradient along the direction in which that without the tail is wrong."""
    student, teacher = logits(0), logits(1)
    full, slope = value_and_gradient(student, live(teacher), temperature=2.0)
    greatest = teacher.topk(6, dim=1)
    without_tail = torch.full_like(teacher, -torch.inf).scatter_(1, greatest.indices, greatest.values)
    biased, biased_slope = value_and_gradient(student, live(without_tail), temperature=2.0)
    direction = biased_slope - slope
    form = TargetForm(samples=6, temperatures=(2.0,), vocabulary=V)
    drawn = [value_and_gradient(student, cached(teacher, form, seed), temperature=2.0) for seed in range(300)]
    values = np.array([value for value, _ in drawn])
    slopes = np.array([float((gradient * direction).sum()) for _, gradient in drawn])
    assert values.std() > 0.01 * full
    low, high = interval(values)
    assert low < full < high
    low_slope, high_slope = interval(slopes)
    assert low_slope < float((slope * direction).sum()) < high_slope
    assert not low < biased < high
    assert not low_slope < float((biased_slope * direction).sum()) < high_slope


def test_a_part_of_each_draw_varies_less_than_independent_draws() -> None:
    """Independent draws of N ids have variance Var(log Q) / N under P at each position."""
    student, teacher = logits(0), logits(1)
    form = TargetForm(samples=6, temperatures=(1.0,), vocabulary=V)
    values = np.array([value_and_gradient(student, cached(teacher, form, seed))[0] for seed in range(300)])
    p, log_q = teacher[POSITIONS].softmax(-1), student[POSITIONS].log_softmax(-1)
    independent = float(((p * log_q**2).sum(-1) - (p * log_q).sum(-1) ** 2).sum()) / 6
    assert values.var() < 0.8 * independent


@pytest.mark.parametrize("form", [{"top_k": 5}, {"samples": 5}])
def test_what_is_not_held_is_refused(form: dict[str, int]) -> None:
    teaching = cached(logits(1), TargetForm(temperatures=(2.0,), vocabulary=V, **form))
    assert value_and_gradient(logits(0), teaching, POSITIONS[1:3], temperature=2.0)[0] > 0
    with pytest.raises(OntogenyError, match=r"hold temperature 2, and 1\.5 is asked for"):
        value_and_gradient(logits(0), teaching, temperature=1.5)
    for positions in ([2], [0, 1, 5]):
        with pytest.raises(OntogenyError, match="no target for a position"):
            value_and_gradient(logits(0), teaching, torch.tensor(positions), temperature=2.0)
