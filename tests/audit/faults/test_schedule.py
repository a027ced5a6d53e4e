"""Faults of the learning rate and its schedule, each beside the same loop without it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, findings, findings_with, silent
from tests.audit.loops import Loop, make_model, rows


@pytest.mark.slow
def test_a_learning_rate_of_zero() -> None:
    assert set(findings(Loop(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=0.0)))) == {
        "learning_rate_zero"
    }
    silent(audited(Loop(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3))), "learning_rate_zero")


@pytest.mark.slow
def test_the_learning_rate_that_is_shown() -> None:
    found = findings_with(Loop(), lambda audit, step: audit.watch(shown_learning_rate=2e-3))
    assert "learning_rate_shown" in found
    silent(audited(Loop(), lambda audit, step: audit.watch(shown_learning_rate=1e-3)), "learning_rate_shown")


@pytest.mark.slow
def test_a_scheduler_that_counts_batches() -> None:
    """Four micro-batches a step: stepped beside `backward`, a schedule of 100 steps is over after 25."""

    def scheduled(*, per_batch: bool) -> Audit:
        model = make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / 100, 0.0))

        def step_scheduler(_: Audit, number: int) -> None:
            if number and (per_batch or number % 4 == 0):
                scheduler.step()

        loop = Loop(model=model, optimizer=lambda _: optimizer, accumulation=4, data=lambda n: rows(4, n, shortest=20))
        return audited(loop, step_scheduler, scheduler=scheduler)

    (found,) = scheduled(per_batch=True).report.findings
    assert found.rule == "scheduler_out_of_step"
    assert found.numbers["scheduler_steps_per_step"] == 4.0
    silent(scheduled(per_batch=False), "scheduler_out_of_step")


def schedule(kind: str, optimizer: Any) -> Any:
    from transformers import get_linear_schedule_with_warmup

    scheduler = torch.optim.lr_scheduler
    if kind == "chain":
        parts = [scheduler.LinearLR(optimizer, 0.1, 1.0, total_iters=10), scheduler.CosineAnnealingLR(optimizer, 390)]
        return scheduler.SequentialLR(optimizer, parts, [10])
    make: dict[str, Callable[[], Any]] = {
        "linear": lambda: scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=400),
        "cosine": lambda: scheduler.CosineAnnealingLR(optimizer, T_max=400),
        "transformers": lambda: get_linear_schedule_with_warmup(optimizer, 0, 400),
        "epochs": lambda: scheduler.StepLR(optimizer, 1, 0.9),
        "plateau": lambda: scheduler.ReduceLROnPlateau(optimizer),
    }
    return make[kind]()


def scheduled(kind: str, each: int | None, *, before: bool = False, **watched: Any) -> Any:
    """What is found where the scheduler steps at every `each`-th optimizer step, or never."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = schedule(kind, optimizer)

    def step(_: Audit, number: int) -> None:
        if each and (before or number) and number % each == 0:
            scheduler.step()

    loop = Loop(model=model, optimizer=lambda _: optimizer, steps=24)
    return findings_with(loop, step, scheduler=scheduler, **watched)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "cosine", "chain", "transformers"])
def test_a_scheduler_that_never_steps(kind: str) -> None:
    found = scheduled(kind, None)
    assert set(found) == {"scheduler_out_of_step"}
    assert "took no step in 24" in found["scheduler_out_of_step"].statement
    assert scheduled(kind, 1) == {}


@pytest.mark.slow
def test_a_scheduler_that_steps_once_per_epoch() -> None:
    # 24 steps of 4 rows are 96 examples: one epoch and more of 80, less than one of 1000.
    assert scheduled("epochs", None) == scheduled("epochs", None, examples=1000) == {}
    assert "more than an epoch" in scheduled("epochs", None, examples=80)["scheduler_out_of_step"].statement
    assert scheduled("epochs", 8, examples=32) == {}
    assert scheduled("plateau", None, examples=80) == {}


@pytest.mark.slow
def test_a_scheduler_that_steps_before_the_optimizer() -> None:
    found = scheduled("linear", 1, before=True)
    assert set(found) == {"scheduler_out_of_step"}
    assert "before optimizer.step()" in found["scheduler_out_of_step"].statement
    assert scheduled("linear", 1) == {}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "cosine", "chain", "transformers"])
def test_a_schedule_that_is_planned_for_micro_batches(kind: str) -> None:
    found = scheduled(kind, 1, total_steps=100)
    assert set(found) == {"scheduler_out_of_step"}
    assert found["scheduler_out_of_step"].numbers["planned"] == 400
    assert scheduled(kind, 1, total_steps=400) == {}


@pytest.mark.slow
def test_one_cycle_that_steps_beside_backward() -> None:
    """12 steps of 4 micro-batches are to be taken: right for a plan of 48; one of 24 is over at half of them."""

    def cycled(planned: int) -> Audit:
        model = make_model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=planned)
        loop = Loop(
            model=model,
            optimizer=lambda _: optimizer,
            accumulation=4,
            steps=planned // 4,
            data=lambda n: rows(4, n, shortest=20),
        )
        stepping = lambda _, number: scheduler.step() if 0 < number < planned else None  # noqa: E731
        return audited(loop, stepping, scheduler=scheduler, accumulation=4, total_steps=12)

    silent(cycled(48), "scheduler_out_of_step")
    (found,) = cycled(24).report.findings
    assert found.rule == "scheduler_out_of_step"
    assert "ends 2 times too early" in found.statement


@pytest.mark.slow
def test_a_long_schedule_that_steps_once_per_epoch() -> None:
    """400 epochs are planned, and the first is not over after 96 of 400 examples; after 96 of 80 it is."""
    assert scheduled("cosine", None, examples=400) == {}
    assert "more than an epoch" in scheduled("cosine", None, examples=80)["scheduler_out_of_step"].statement
