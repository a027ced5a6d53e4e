"""At every step the smallest learning rate that makes the new text's loss fall by as much as asked."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context
from ontogeny.core.controls import Control, Decided, Decision
from ontogeny.measures.lr_landscape import LrLandscape
from ontogeny.measures.questions import Questions


class TargetDecrease(Control):
    """Follows a relative decrease of the loss on held-out text of the kind that is learned, by the exact landscape.

    At every n-th state (`every`) it looks at what the next step would do at each learning rate, and takes the smallest
    that reaches `target`; where none does, the best there is, and the decision counts as infeasible. Training stops
    after `patience` infeasible decisions in a row, or when more than `stop_above` of a set of questions is answered.

    Recorded at each decision: `rate`, `predicted` decrease at it, `feasible` (1 or 0), `loss` on the held-out batch
    before the step, `realised`: the decrease since the decision before, which with `every: 1` is that of one step, and
    `correct`: the share of questions answered rightly, where there are questions.
    """

    target: float = Field(default=0.01, gt=0, lt=1)
    """Relative decrease per step."""
    new: str = "novel"
    """Probe set of held-out new text."""
    passages: int = Field(default=16, ge=1)
    """Of it, the first ones."""
    rates: int = Field(default=16, ge=4)
    """Learning rates to look at."""
    lowest: float = Field(default=1e-6, gt=0)
    """The first of them."""
    highest: float = Field(default=1e-1, gt=0)
    """The last."""
    refine: int = Field(default=4, ge=0)
    """Halvings of the interval in which the target's rate lies."""
    questions: str | None = None
    """JSON lines with questions (as the measure `questions` takes them); training stops once enough are answered."""
    stop_above: float = Field(default=0.8, gt=0, lt=1)
    """Share of questions answered rightly above which training stops."""
    patience: int = Field(default=5, ge=1)
    """Infeasible decisions in a row that end training."""

    decides: ClassVar[frozenset[Decided]] = frozenset({"learning_rate"})
    cost: ClassVar[str] = (
        "one backward pass per decision, rates + 2 refine + 2 forward passes at most over the next batch and "
        "`passages`, and the greedy answers to questions, if any"
    )
    probe_keys: ClassVar[tuple[str, ...]] = ("new",)

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The rate, and whether to stop."""
        landscape = LrLandscape(
            new=self.new,
            passages=self.passages,
            rates=self.rates,
            lowest=self.lowest,
            highest=self.highest,
            targets=(self.target,),
            refine=self.refine,
        )
        found = landscape.look(context).arrays
        rate, predicted = float(found["rate_for_target"][0]), float(found["decrease_at_target"][0])
        feasible = bool(np.isfinite(rate))
        if not feasible:
            rate, predicted = float(found["best_rate"]), float(found["best_decrease"])
            if not predicted > 0:  # no rate takes anything off, or no loss is finite
                rate, predicted = self.lowest, float("nan")
        loss = float(found["loss_before"].sel(batch="new"))
        before = past[-1].seen["loss"] if past else float("nan")
        lately = [one.seen["feasible"] for one in past[1 - self.patience :]] if self.patience > 1 else []
        stops = not feasible and len(lately) == self.patience - 1 and not any(lately)
        reason = f"a decrease of {self.target:.2%} was out of reach {self.patience} times in a row"
        seen = {"predicted": predicted, "feasible": float(feasible), "loss": loss, "realised": (before - loss) / before}
        if self.questions is not None:
            seen["correct"] = float(Questions(path=self.questions).look(context).arrays["correct_share"])
            if seen["correct"] > self.stop_above:
                reason = (
                    f"{seen['correct']:.0%} of the questions were answered rightly, more than {self.stop_above:.0%}"
                )
                stops = True
        return Decision(step=context.progress.step, learning_rate=rate, stop=reason if stops else None, seen=seen)
