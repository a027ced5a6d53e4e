"""A control in one file that decides what no built-in control decides: the weight of a term, and clipping."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from ontogeny.core.component import Settings, refusal
from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.measures import Context
from ontogeny.core.recipe import Recipe
from ontogeny.measures.weight_drift import block_mad


class PullBack(Control):
    """Weighs a penalty by how far the blocks have drifted, and clips harder at every decision.

    Recorded at each decision: `weight`, `norm`, `drift`.
    """

    term: str
    """The loss term whose weight is set."""
    gain: float = Field(default=1e4, gt=0)
    """Weight per drift."""

    cost: ClassVar[str] = "reads the weights and those of state 0 once per decision; no forward pass"

    def check(self, recipe: Settings, *location: str | int) -> None:
        """The term must be there."""
        assert isinstance(recipe, Recipe)
        if self.term not in [term.label for term in recipe.objective]:
            raise refusal(f"no loss term '{self.term}'", *location, "term")

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """Weight and norm from here on."""
        drift = float(block_mad(context).mean())
        norm = 0.8 * past[-1].values["norm"] if past else 0.5
        values = {"weight": self.gain * drift, "norm": norm, "drift": drift}
        return Decision(step=context.progress.step, values=values)

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set both."""
        steering.set_term_weight(self.term, decision.values["weight"])
        steering.set_clip(decision.values["norm"])
