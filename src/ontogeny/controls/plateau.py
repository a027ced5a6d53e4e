"""A low learning rate, raised whenever all layers have stopped drifting from their initial weights."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.measures import Context
from ontogeny.measures.weight_drift import block_mad


class Plateau(Control):
    """Starts at a low rate, holds it while some layer's MAD still climbs, and multiplies it once all have levelled off.

    MAD of a block: mean |w - w0| over its weights, with w0 those of state 0. At every n-th state (`every`), growth of a
    block is its gain in MAD over the last `window` decisions, as a share of its gain over the first `window` at the
    present rate: 1 for a steady climb, 0 at rest. The rate is multiplied by `factor`, up to `ceiling`, when the largest
    growth over blocks is below `growth`.

    Recorded at each decision: `rate`, `mad` (mean over blocks), `growth` (the largest; NaN before the first window is
    over), `raised` (1 or 0), and `mad_<block>`.
    """

    every: int = Field(default=5, ge=1)
    """At every n-th state."""
    start: float = Field(default=1e-5, gt=0)
    """The first learning rate."""
    factor: float = Field(default=2.0, gt=1)
    """Factor by which the rate is raised."""
    ceiling: float = Field(default=1e-2, gt=0)
    """The largest learning rate."""
    window: int = Field(default=3, ge=1)
    """Decisions over which growth is measured."""
    growth: float = Field(default=0.25, gt=0)
    """Growth below which a layer counts as at rest."""

    cost: ClassVar[str] = "reads the weights and those of state 0 once per decision; no forward pass"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.start > self.ceiling:
            raise refusal(f"start {self.start:g} is above ceiling {self.ceiling:g}", "start")
        return self

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The rate from here on."""
        mad = block_mad(context)
        drift = {f"mad_{block}": float(value) for block, value in enumerate(mad)}
        rate = past[-1].values["rate"] if past else self.start
        at_rate = [decision for decision in past if decision.values["rate"] == rate]
        growth = float("nan")
        if len(at_rate) >= self.window:
            history = np.array([[decision.values[name] for name in drift] for decision in at_rate] + [list(mad)])
            gain, first_gain = history[-1] - history[-1 - self.window], history[self.window] - history[0]
            growth = float(np.max(_share(gain, first_gain)))
        raised = growth < self.growth and rate < self.ceiling
        return Decision(
            step=context.progress.step,
            values={
                "rate": min(rate * self.factor, self.ceiling) if raised else rate,
                "mad": float(mad.mean()),
                "growth": growth,
                "raised": float(raised),
                **drift,
            },
        )

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set the rate."""
        steering.set_learning_rate(decision.values["rate"])


def _share(gain: np.ndarray, first_gain: np.ndarray) -> np.ndarray:
    """gain / first_gain by block. 0 / 0 is 0: a block that has never moved loses its updates to rounding."""
    share = np.divide(gain, first_gain, out=np.full_like(gain, np.inf), where=first_gain > 0)
    return np.where(gain <= 0, 0.0, share)
