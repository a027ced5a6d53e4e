"""The smallest share of replay that keeps the general loss within a bound."""

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from ontogeny.core.component import Settings, refusal
from ontogeny.core.controls import Control, Decision, Steering
from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import BatchMeasure, Context
from ontogeny.core.recipe import Recipe
from ontogeny.looking.held_out import held_out, mean_nll

_SHARE = "share_"


class ReplayBudget(Control):
    """Adapts the share of replayed text to measured forgetting, so that the general loss stays within a bound.

    With L the mean NLL on general passages and L0 that at state 0, excess = L / L0 - 1. At every n-th state (`every`)
    the share is multiplied by `raise_by` if excess is at least `margin` x `bound`, and by `lower_by` otherwise: it
    rises fast and falls slowly. At state 0 it is the recipe's. It always lies between `floor` and `ceiling`. Several
    replay corpora keep their proportions. The bound is a target, not a guarantee: what a batch costs is measured only
    afterwards.

    Recorded at each decision: `share_<corpus>`, `loss` (nats per token), `excess`. The control decides by these
    passages, so report results on another set of general passages.
    """

    every: int = Field(default=10, ge=1)
    """At every n-th state."""
    general: str = "general"
    """Probe set of general text."""
    passages: int = Field(default=16, ge=1)
    """How many of them are used: the first."""
    bound: float = Field(default=0.02, gt=0)
    """Largest rise of the general loss, as a share of its value at state 0."""
    margin: float = Field(default=0.8, gt=0, le=1)
    """Replay is raised once excess reaches this share of the bound."""
    raise_by: float = Field(default=1.5, gt=1)
    """Factor of the share when it is raised."""
    lower_by: float = Field(default=0.95, gt=0, lt=1)
    """Factor of the share when it is lowered."""
    floor: float = Field(default=0.01, gt=0, lt=1)
    """Smallest share of replayed text, over all its corpora."""
    ceiling: float = Field(default=0.5, gt=0, lt=1)
    """Largest share."""

    cost: ClassVar[str] = "one forward pass over `passages` general passages per decision"
    probe_keys: ClassVar[tuple[str, ...]] = ("general",)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.floor > self.ceiling:
            raise refusal(f"floor {self.floor:g} is above ceiling {self.ceiling:g}", "floor")
        return self

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Refuse recipes whose batches hold no share to decide, or are counted before it is decided."""
        assert isinstance(recipe, Recipe)
        train = recipe.train
        assert train is not None
        if train.tokens is not None or (train.epochs is not None and train.mixing.budget == "new"):
            message = (
                f"with '{self.kind}' it is not known beforehand how long training is: write steps, or epochs with "
            )
            raise refusal(f"{message}mixing.budget: compute", *location)
        if train.mixing.percentage_window is not None:
            message = f"'{self.kind}' decides shares, which percentage_window gives: leave out one of them"
            raise refusal(message, *location)
        if not 0 < sum(replay.share for replay in recipe.data.replay.values()) < 1:
            message = f"'{self.kind}' decides shares of replayed text: write data.replay with shares below 1 in all"
            raise refusal(message, *location)
        for i, measure in enumerate(recipe.measures):
            if isinstance(measure, BatchMeasure):
                message = (
                    f"'{measure.group}' must know all batches before training, and '{self.kind}' decides about them"
                )
                raise refusal(f"{message}: leave out one of them", "measures", i)

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The shares from here on."""
        if context.training is None:
            raise OntogenyError(f"'{self.kind}' needs the training itself: put it into train.controls")
        loss = mean_nll(context.model, held_out(context, self.general, self.passages, self.kind))
        excess = loss / past[0].values["loss"] - 1 if past else 0.0
        present = context.training.replay
        total = sum(present.values())
        share = total
        if past:
            share *= self.raise_by if excess >= self.margin * self.bound else self.lower_by
        share = min(max(share, self.floor), self.ceiling)
        shares = {f"{_SHARE}{corpus}": share * part / total for corpus, part in present.items()}
        return Decision(step=context.progress.step, values={**shares, "loss": loss, "excess": excess})

    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set the shares of the batches from the decision on."""
        shares = {
            name.removeprefix(_SHARE): value for name, value in decision.values.items() if name.startswith(_SHARE)
        }
        steering.set_replay(decision.step, shares)
