"""A low learning rate, raised whenever the layers have stopped to move away from where they began."""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.contracts import Context
from ontogeny.core.controls import Control, Decided, Decision
from ontogeny.measures.weight_drift import block_mad


class Plateau(Control):
    """Starts at a low rate and multiplies it whenever the layers' MAD has reached a plateau; holds it while they climb.

    MAD of a block: mean |w - w0| over its weights, w0 those of state 0. At every n-th state (`every`), growth is the
    largest over blocks of MAD / MAD `window` decisions earlier - 1. The rate is multiplied by `factor` where growth is
    below `growth` and all of those decisions had the present rate, up to `ceiling`. MAD adds up whatever happened, so
    under one rate growth falls even where a layer climbs on steadily: as window / n, n decisions after the start.

    Recorded at each decision: `rate`, `mad` (mean over blocks), `growth` (NaN where there is no window yet), `raised`
    (1 or 0), and `mad_<block>`.
    """

    every: int = Field(default=5, ge=1)
    """At every n-th state."""
    start: float = Field(default=1e-5, gt=0)
    """The first learning rate."""
    factor: float = Field(default=2.0, gt=1)
    """By which it is raised."""
    ceiling: float = Field(default=1e-2, gt=0)
    """The largest learning rate."""
    window: int = Field(default=3, ge=1)
    """Decisions over which growth is taken."""
    growth: float = Field(default=0.1, gt=0)
    """Relative growth over the window below which a layer no longer climbs."""

    decides: ClassVar[frozenset[Decided]] = frozenset({"learning_rate"})
    cost: ClassVar[str] = "reads the weights and those of state 0 once per decision; no forward pass"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.start > self.ceiling:
            raise refusal(f"start {self.start:g} is above ceiling {self.ceiling:g}", "start")
        return self

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The rate from here on."""
        mad = block_mad(context)
        rate = past[-1].learning_rate if past else self.start
        assert rate is not None
        same = [one for one in past if one.learning_rate == rate]
        growth = float("nan")
        if len(same) >= self.window:
            before = np.array([same[-self.window].seen[f"mad_{i}"] for i in range(len(mad))])
            growth = float(np.max(_relative_growth(before, mad)))
        raised = growth < self.growth and rate < self.ceiling
        return Decision(
            step=context.progress.step,
            learning_rate=min(rate * self.factor, self.ceiling) if raised else rate,
            seen={"mad": float(mad.mean()), "growth": growth, "raised": float(raised),
                  **{f"mad_{i}": float(one) for i, one in enumerate(mad)}},
        )  # fmt: skip


def _relative_growth(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """NaN from 0, but 0 from 0 to 0: there, updates are lost to rounding."""
    still = (before == 0) & (now == 0)
    return np.divide(now, before, out=np.where(still, 1.0, np.nan), where=before > 0) - 1
