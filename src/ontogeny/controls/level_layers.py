"""Learning rates from the first block to the last, set so that all blocks move equally far."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.component import Settings, refusal
from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.measures import Context
from ontogeny.core.recipe import Recipe
from ontogeny.measures.weight_drift import block_mad


class LevelLayers(Control):
    """Sets the learning-rate multipliers of the first and the last block, linear in between, from the blocks' drift.

    Drift of a block: its MAD, mean |w - w0| over its weights, with w0 those of state 0. At every n-th state (`every`) a
    straight line is fitted through log MAD over the blocks (least squares). With r the line's value at the first block
    over that at the last, the multipliers are r^(-gain / 2) and r^(gain / 2), clipped to 1/limit and limit: their
    geometric mean stays 1. Blocks that would drift apart by a factor c under one rate settle at about
    c^(1 / (1 + gain)). Embeddings go with the first block, final norm and head with the last.

    Recorded at each decision: `first_block` and `last_block` (the multipliers), `ratio` (r), and `mad_<block>`.
    """

    every: int = Field(default=5, ge=1)
    """At every n-th state."""
    gain: float = Field(default=2.0, gt=0)
    """How strongly the multipliers answer a difference in drift."""
    limit: float = Field(default=4.0, gt=1)
    """Largest multiplier; the smallest is its inverse."""

    by_block: ClassVar[bool] = True
    cost: ClassVar[str] = "reads the weights and those of state 0 once per decision; no forward pass"

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Refuse a fixed slope beside it."""
        assert isinstance(recipe, Recipe)
        if recipe.train is not None and recipe.train.layer_slope is not None:
            raise refusal(f"'{self.kind}' decides the slope over layers: leave out layer_slope", *location)

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The multipliers from here on."""
        mad = block_mad(context)
        ratio = 1.0
        if len(mad) > 1 and (mad > 0).all():
            slope = float(np.polyfit(np.arange(len(mad)), np.log(mad), 1)[0])
            ratio = float(np.exp(-slope * (len(mad) - 1)))
        last = float(np.clip(ratio ** (self.gain / 2), 1 / self.limit, self.limit))
        multipliers = {"first_block": 1 / last, "last_block": last}
        drift = {f"mad_{block}": float(value) for block, value in enumerate(mad)}
        return Decision(step=context.progress.step, values={**multipliers, "ratio": ratio, **drift})

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set the slope."""
        steering.set_layer_slope(decision.values["first_block"], decision.values["last_block"])
