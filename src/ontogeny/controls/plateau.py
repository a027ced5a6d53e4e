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
    largest over blocks of what MAD gained in the last `window` decisions, as a share of what it gained in the first
    `window` at the present rate: 1 where it climbs on steadily, 0 where it stands. The rate is multiplied by `factor`
    where growth is below `growth`, up to `ceiling`.

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
    growth: float = Field(default=0.25, gt=0)
    """Share of its first gain at this rate below which a layer no longer climbs."""

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
            there = np.array([[one.seen[f"mad_{i}"] for i in range(len(mad))] for one in same] + [list(mad)])
            growth = float(np.max(_share(there[-1] - there[-1 - self.window], there[self.window] - there[0])))
        raised = growth < self.growth and rate < self.ceiling
        return Decision(
            step=context.progress.step,
            learning_rate=min(rate * self.factor, self.ceiling) if raised else rate,
            seen={
                "mad": float(mad.mean()),
                "growth": growth,
                "raised": float(raised),
                **{f"mad_{i}": float(one) for i, one in enumerate(mad)},
            },
        )


def _share(now: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Of what was gained first; 0 of nothing is 0: there, updates are lost to rounding."""
    share = np.divide(now, first, out=np.full_like(now, np.inf), where=first > 0)
    return np.where((now <= 0), 0.0, share)
