"""Faults of loops whose loss is multiplied on its way to `backward`, each beside the same loop without it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from ontogeny.core.verdicts import Clear
from tests.audit.judging import audited, clears, findings
from tests.audit.loops import Loop, rows, shifted_loss

pytestmark = pytest.mark.slow


@dataclass(kw_only=True)
class Scaled(Loop):
    """The same loop in float16 under autocast, with a GradScaler."""

    scale: float = 65536.0
    autocast: bool = True
    by_hand: bool = False
    """Multiply the loss, and divide gradients, without a GradScaler."""
    unscaled: bool = True
    """Before gradients are clipped."""

    def run(self, watcher: Callable[[Any, Any], AbstractContextManager[Any]] | None = None) -> Any:
        torch.manual_seed(7)
        model, optimizer = self.model, self.optimizer(self.model)
        scaler = torch.amp.GradScaler("cpu", init_scale=self.scale, enabled=not self.by_hand)
        model.train()
        with watcher(model, optimizer) if watcher else nullcontext() as watched:
            for number, batch in enumerate(self._batches()):
                with torch.autocast("cpu", torch.float16, enabled=self.autocast):
                    logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
                loss = self.loss(logits.float(), batch["labels"]) / (self.accumulation if self.divide else 1)
                scaler.scale(loss * self.scale if self.by_hand else loss).backward()
                if (number + 1) % self.accumulation == 0:
                    if self.unscaled:
                        scaler.unscale_(optimizer)
                    if self.by_hand:
                        torch._foreach_div_([p.grad for p in model.parameters()], self.scale)
                    if self.clip is not None:
                        torch.nn.utils.clip_grad_norm_(model.parameters(), self.clip)
                    scaler.step(optimizer)
                    scaler.update()
                    optimizer.zero_grad()
        return watched


def even(number: int) -> dict[str, torch.Tensor]:
    return rows(4, number, shortest=20)


@pytest.mark.parametrize("autocast", [True, False])
def test_micro_batches_that_are_summed_under_a_scaler(*, autocast: bool) -> None:
    right = Scaled(accumulation=2, autocast=autocast, data=even)
    assert findings(right, accumulation=2) == {}
    assert "accumulation_normalised" in clears(right, accumulation=2)
    found = findings(Scaled(accumulation=2, autocast=autocast, divide=False, data=even), accumulation=2)
    assert set(found) == {"accumulation_normalised"}
    assert abs(float(found["accumulation_normalised"].numbers["sum_of_weights"]) - 2) < 0.02


def test_steps_that_a_scaler_skips_are_not_part_of_the_next_one() -> None:
    """At a scale of 2^30, gradients in float16 are infinite: steps are skipped, and the scale is halved each time."""
    loop = Scaled(scale=2.0**30, accumulation=2, data=even, steps=24)
    report = audited(loop, accumulation=2).report
    assert report.findings == ()
    steps = next(one for one in report.verdicts if isinstance(one, Clear) and one.rule == "no_optimizer_step")
    assert 2 * int(steps.numbers["steps"]) < int(steps.numbers["backward_passes"])  # some were skipped


@pytest.mark.parametrize("clip", [None, 1e-3])
def test_a_scale_by_hand_is_not_taken_for_a_sum(clip: float | None) -> None:
    assert findings(Scaled(by_hand=True, scale=1024.0, autocast=False, accumulation=2, data=even, clip=clip)) == {}
    assert findings(Scaled(by_hand=True, scale=1024.0, autocast=False, data=even, clip=clip)) == {}


def test_a_multiple_of_the_mean_under_a_scaler() -> None:
    found = findings(Scaled(loss=lambda logits, labels: 8 * shifted_loss(logits, labels)))
    assert set(found) == {"loss_scale"}
    assert abs(float(found["loss_scale"].numbers["sum_of_weights"]) - 8) < 0.1
    assert findings(Scaled()) == {}


def test_gradients_that_are_clipped_before_they_are_unscaled() -> None:
    found = findings(Scaled(clip=1.0, unscaled=False), max_grad_norm=1.0)
    assert set(found) == {"clipping"}
    assert "clipped before they are unscaled" in found["clipping"].statement
    assert "unscale_" in found["clipping"].remedy
    assert findings(Scaled(clip=1.0), max_grad_norm=1.0) == {}
