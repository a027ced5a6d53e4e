"""At every step the smallest learning rate that lowers the loss of new text by as much as asked."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from ontogeny.core.component import Settings, refusal
from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.measures import Context
from ontogeny.core.recipe import Recipe
from ontogeny.measures.lr_landscape import LrLandscape
from ontogeny.measures.questions import Questions

if TYPE_CHECKING:
    import xarray as xr


class TargetDecrease(Control):
    """Follows a relative decrease of the loss on held-out text like that being learned, by the exact landscape.

    At every n-th state (`every`) it measures the loss after the next step at each learning rate, and takes the smallest
    rate that reaches `target`, also above `highest` or below `lowest` where the decrease still grows there, by a factor
    of 1,000 at most (see the measure `lr_landscape`). If none does, it takes the rate of the largest decrease, and the
    decision counts as infeasible. Training stops after `patience` infeasible decisions in a row, or when more than
    `stop_above` of a set of questions is answered.

    Recorded at each decision: `rate`, `predicted` decrease at it, `feasible` (1 or 0), `edge` (1 if the target was not
    reached, but the decrease still grew at the highest rate tried, -1 if it did at the lowest, else 0), `loss` on the
    held-out batch before the step, `realised`: the decrease since the decision before, which with `every: 1` is that of
    one step, and `correct`: the share of questions answered correctly, if there are questions.
    """

    target: float = Field(default=0.01, gt=0, lt=1)
    """Relative decrease per step."""
    new: str = "novel"
    """Probe set of held-out new text."""
    passages: int = Field(default=16, ge=1)
    """How many of its passages are used: the first."""
    rates: int = Field(default=16, ge=4)
    """How many learning rates are tried."""
    lowest: float = Field(default=1e-6, gt=0)
    """The lowest of them."""
    highest: float = Field(default=1e-1, gt=0)
    """The highest."""
    refine: int = Field(default=4, ge=0)
    """Halvings of the interval in which the target's rate lies."""
    questions: str | None = None
    """JSON lines with questions, as the measure `questions` takes them; training stops once enough are answered."""
    stop_above: float = Field(default=0.8, gt=0, lt=1)
    """Share of questions answered correctly above which training stops."""
    patience: int = Field(default=5, ge=1)
    """Infeasible decisions in a row that end training."""

    cost: ClassVar[str] = (
        "one backward pass per decision, rates + 2 refine + 2 forward passes over the next batch and `passages`, up to "
        "20 more where the target lies beyond the rates, and the greedy answers to questions, if any"
    )
    probe_keys: ClassVar[tuple[str, ...]] = ("new",)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.lowest < self.highest:
            raise refusal(f"lowest {self.lowest:g} is not below highest {self.highest:g}", "lowest")
        return self

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Refuse an optimizer whose step at another rate is not known."""
        assert isinstance(recipe, Recipe)
        assert recipe.train is not None
        if not recipe.train.optimizer.tells_direction:
            message = (
                f"'{self.kind}' needs the step at each rate beforehand, which '{recipe.train.optimizer.kind}' does "
            )
            raise refusal(f"{message}not tell: leave out the control, or write another train.optimizer", *location)

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The rate, and whether to stop."""
        landscape = self._landscape(context)
        rate, predicted = float(landscape["rate_for_target"][0]), float(landscape["decrease_at_target"][0])
        feasible = bool(np.isfinite(rate) and rate > 0)
        edge = 1.0 if np.isposinf(rate) else -1.0 if rate == 0 else 0.0
        if not feasible:
            rate, predicted = float(landscape["best_rate"]), float(landscape["best_decrease"])
            if not predicted > 0:  # the loss falls at no rate, or is finite at none
                rate, predicted = self.lowest, float("nan")
        loss = float(landscape["loss_before"].sel(batch="new"))
        before = past[-1].values["loss"] if past else float("nan")
        values = {"rate": rate, "predicted": predicted, "feasible": float(feasible), "edge": edge, "loss": loss}
        values["realised"] = (before - loss) / before
        stop = None
        if not feasible and self._out_of_patience(past):
            stop = self._why_infeasible([*(decision.values for decision in past), values][-self.patience :])
        if self.questions is not None:
            correct = float(Questions(path=self.questions).look(context).arrays["correct_share"])
            values["correct"] = correct
            if correct > self.stop_above:
                stop = f"{correct:.0%} of the questions were answered rightly, more than {self.stop_above:.0%}"
        return Decision(step=context.progress.step, values=values, stop=stop)

    def _landscape(self, context: Context) -> "xr.Dataset":
        return (
            LrLandscape(
                new=self.new,
                passages=self.passages,
                rates=self.rates,
                lowest=self.lowest,
                highest=self.highest,
                targets=(self.target,),
                refine=self.refine,
            )
            .look(context)
            .arrays
        )

    def _out_of_patience(self, past: Sequence[Decision]) -> bool:
        """Were the last `patience` - 1 decisions infeasible, too?"""
        recent = past[len(past) - (self.patience - 1) :] if len(past) >= self.patience - 1 else None
        return recent is not None and not any(decision.values["feasible"] for decision in recent)

    def _why_infeasible(self, recent: Sequence[Mapping[str, float]]) -> str:
        """Why the last decisions, given by their values, did not reach the target: edge or truly out of reach."""
        target = f"a decrease of {self.target:.2%}"
        edges = [values.get("edge", 0.0) for values in recent]  # earlier versions recorded none
        if not any(edges):
            return f"{target} was out of reach {self.patience} times in a row"
        why = []
        for edge, end, remedy in ((1.0, "highest", "raise highest"), (-1.0, "lowest", "lower lowest")):
            rates = [values["rate"] for values, at in zip(recent, edges, strict=True) if at == edge]
            if rates:
                grew = f"{len(rates)} of them because the decrease still grew at the {end} rate tried"
                why.append(f"{grew}, {rates[-1]:.3g}: {remedy}")
        return f"{target} was not reached {self.patience} times in a row, {'; '.join(why)}"

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set the rate."""
        steering.set_learning_rate(decision.values["rate"])
