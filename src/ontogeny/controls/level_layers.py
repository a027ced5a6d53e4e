"""Learning rates from the first block to the last, set so that the blocks move alike."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context
from ontogeny.core.controls import Control, Decided, Decision
from ontogeny.measures.weight_drift import block_mad


class LevelLayers(Control):
    """Sets the multipliers of the first and the last block, linear in between, from how far the blocks have moved.

    MAD of a block: mean |w - w0| over its weights, w0 those of state 0. At every n-th state (`every`) a straight line
    is fitted through log MAD over the blocks (least squares); with r = what it gives for the first block by what it
    gives for the last, the multipliers are r^(-gain / 2) and r^(gain / 2), within 1/limit and limit: their geometric
    mean stays 1. If blocks would move apart by a factor c under one rate, they settle at about c^(1 / (1 + gain)).
    Embeddings go with the first block, final norm and head with the last.

    Recorded at each decision: `first_block` and `last_block` (the multipliers), `ratio` (r), and `mad_<block>`.
    """

    every: int = Field(default=5, ge=1)
    """At every n-th state."""
    gain: float = Field(default=2.0, gt=0)
    """How strongly a difference is answered."""
    limit: float = Field(default=4.0, gt=1)
    """Largest multiplier; the smallest is its inverse."""

    decides: ClassVar[frozenset[Decided]] = frozenset({"layers"})
    cost: ClassVar[str] = "reads the weights and those of state 0 once per decision; no forward pass"

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The multipliers from here on."""
        mad = block_mad(context)
        ratio = 1.0
        if len(mad) > 1 and (mad > 0).all():
            slope = float(np.polyfit(np.arange(len(mad)), np.log(mad), 1)[0])
            ratio = float(np.exp(-slope * (len(mad) - 1)))
        last = float(np.clip(ratio ** (self.gain / 2), 1 / self.limit, self.limit))
        return Decision(
            step=context.progress.step,
            layer_slope=(1 / last, last),
            seen={"ratio": ratio, **{f"mad_{i}": float(one) for i, one in enumerate(mad)}},
        )
