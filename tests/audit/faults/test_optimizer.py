"""Faults of stepping, each beside the same loop without it."""

from typing import Any

import torch

from ontogeny.integrations.audit.session import Audit
from tests.audit.judging import audited, findings, findings_with, silent
from tests.audit.loops import Loop, make_model, rows


def test_the_clean_loop_raises_nothing() -> None:
    assert findings(Loop()) == {}
    assert findings(Loop(accumulation=2), accumulation=2) == {}


class Stepper:
    """The post-mortem's: asking counts, and it is asked twice per batch, so that an even accumulation never steps."""

    def __init__(self, accumulation: int) -> None:
        self.accumulation, self.count = accumulation, 0

    def should_step(self) -> bool:
        self.count += 1
        return self.count % self.accumulation == 0

    def asked_twice(self, _: int) -> bool:
        # accumulation 2: the first question of a batch makes the count odd, the second even and is thrown away.
        first = self.should_step()
        self.should_step()
        return first


def test_a_question_that_counts_never_steps() -> None:
    found = findings(Loop(accumulation=2, should_step=Stepper(2).asked_twice), accumulation=2)
    assert set(found) == {"no_optimizer_step"}
    assert found["no_optimizer_step"].numbers["backward_passes"] == 24  # 12 steps of 2 micro-batches
    once = Stepper(2)
    silent(audited(Loop(accumulation=2, should_step=lambda _: once.should_step()), accumulation=2), "no_optimizer_step")


def test_a_module_outside_the_optimizer_gets_gradients_in_vain() -> None:
    def optimizer(model: Any, *, head_trained: bool) -> Any:
        head = set(model.get_output_embeddings().parameters())
        return torch.optim.AdamW([p for p in model.parameters() if head_trained or p not in head], lr=1e-3)

    found = findings(Loop(optimizer=lambda model: optimizer(model, head_trained=False)))
    assert set(found) == {"gradients_outside_the_optimizer", "tensors_do_not_move"}
    assert "lm_head.weight" in found["gradients_outside_the_optimizer"].statement
    silent(audited(Loop(optimizer=lambda model: optimizer(model, head_trained=True))), *found)


def test_an_optimizer_of_another_model_moves_nothing() -> None:
    model, other = make_model(), make_model(seed=1)
    found = findings(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(other.parameters(), lr=1e-3)))
    assert found["tensors_do_not_move"].severity == "error"
    silent(audited(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(model.parameters(), lr=1e-3))), *found)


def test_a_frozen_part_is_not_a_finding() -> None:
    model = make_model()
    model.get_input_embeddings().weight.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    silent(audited(Loop(model=model, optimizer=lambda _: torch.optim.AdamW(trained, lr=1e-3))), "tensors_do_not_move")


def test_other_accumulation_than_said() -> None:
    found = findings(Loop(accumulation=2), accumulation=4)
    assert found["backwards_per_step"].numbers["backwards_per_step"] == 2.0
    silent(audited(Loop(accumulation=4), accumulation=4), "backwards_per_step")
    silent(audited(Loop(accumulation=2), accumulation=2), "backwards_per_step")


def test_clipping_always_never_and_sometimes() -> None:
    # With a bound far below any norm every step is clipped to it; far above, none is.
    # Every tenth step is looked at, the first 20 are left out: 20, 30, …, 110 are ten of 115.
    long: dict[str, Any] = {"steps": 115}
    assert "every step" in findings(Loop(clip=1e-3, **long), max_grad_norm=1e-3)["clipping"].statement
    assert "no gradient comes near" in findings(Loop(clip=1e6, **long), max_grad_norm=1e6)["clipping"].statement
    silent(audited(Loop(clip=1.0, **long), max_grad_norm=1.0), "clipping")
    silent(audited(Loop(clip=1e-3), max_grad_norm=1e-3))  # 12 steps are too few to say


def test_a_learning_rate_of_zero() -> None:
    assert set(findings(Loop(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=0.0)))) == {
        "learning_rate_zero"
    }
    silent(audited(Loop(optimizer=lambda model: torch.optim.AdamW(model.parameters(), lr=1e-3))), "learning_rate_zero")


def test_the_learning_rate_that_is_shown() -> None:
    found = findings_with(Loop(), lambda audit, step: audit.watch(shown_learning_rate=2e-3))
    assert "learning_rate_shown" in found
    silent(audited(Loop(), lambda audit, step: audit.watch(shown_learning_rate=1e-3)), "learning_rate_shown")


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
