"""Ends training when held-out text has stopped getting better."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from ontogeny.core.component import Settings, refusal
from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.measures import Context
from ontogeny.core.recipe import Recipe
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.evaluation import Evaluation


class EarlyStopping(Control):
    """Evaluates a probe set at every n-th state (`every`), and stops after `patience` decisions without a new best.

    A state is a new best if its value is below the best so far by more than `least_gain` (Goodfellow et al. 2016, "Deep
    learning", algorithm 7.1). The value must mean the same at every step: plain NLL does, and the objective only while
    the weights and temperatures of its terms stay as they are. Any other objective is refused, since it falls or
    rises with its schedules, whatever the model does.

    Recorded at each decision: `value` and `best`, in nats per token (or unit), `best_step`, and `waited`, the number of
    decisions since. To keep the best model, save checkpoints at the same states; `from_run` takes one by its step.
    """

    every: int = Field(default=50, ge=1)
    """At every n-th state."""
    probe: str
    """Probe set to decide by; results are reported on others."""
    metric: Literal["nll", "objective"] = "nll"
    """nll: plain NLL per token. objective: what training minimises, where no schedule changes it."""
    patience: int = Field(default=3, ge=1)
    """Decisions without a new best after which training ends."""
    least_gain: float = Field(default=0.0, ge=0)
    """By how much a new best must be better, in nats."""

    cost: ClassVar[str] = "one forward pass over the probe set per decision"
    probe_keys: ClassVar[tuple[str, ...]] = ("probe",)

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Refuse an objective that does not compare over training."""
        assert isinstance(recipe, Recipe)
        if self.metric == "nll":
            return
        changes = [
            f"the {what} of '{term.label}'"
            for term in recipe.objective
            for what, changing in (("weight", not term.weight.is_constant), ("temperature", term.scale_changes))
            if changing
        ]
        if changes:
            verb = "changes" if len(changes) == 1 else "change"
            message = (
                f"the objective does not compare over training, since {' and '.join(changes)} {verb}: it falls or "
            )
            raise refusal(f"{message}rises whatever the model does; write metric: nll", *location, "metric")

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """Stop, or go on."""
        value, step = self._value(context), context.progress.step
        best, best_step = value, float(step)
        waited = 0.0
        if past:
            before = past[-1].values
            if not value < before["best"] - self.least_gain:
                best, best_step, waited = before["best"], before["best_step"], before["waited"] + 1
        stop = None
        if waited >= self.patience:
            stop = (
                f"{self.metric} of {self.probe} has had no new best for {self.patience} decisions; the best was "
                f"{best:.4f} at step {best_step:.0f}"
            )
        values = {"value": value, "best": best, "best_step": best_step, "waited": waited}
        return Decision(step=step, values=values, stop=stop)

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Nothing to set: training goes on as it was, or ends."""

    def _value(self, context: Context) -> float:
        measure = Evaluation(probes=(self.probe,))
        observations, _ = run_stream_looks(context, [measure])
        return float(observations[measure.group].arrays[self.metric].item())
