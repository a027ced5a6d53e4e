"""As much replay as it takes to keep the general loss within a bound."""

from collections.abc import Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.contracts import Context
from ontogeny.core.controls import Control, Decided, Decision
from ontogeny.core.errors import OntogenyError
from ontogeny.looking.held_out import held_out, mean_nll


class ReplayBudget(Control):
    """Moves the share of replayed text on measured forgetting, so that the general loss stays within a bound.

    With L the mean NLL on general passages and L0 that at state 0, excess = L / L0 - 1. At every n-th state (`every`)
    the share is multiplied by `raise_by` where excess is at least `margin` x `bound`, and by `lower_by` otherwise,
    between `floor` and `ceiling`: quick to protect, slow to save. At state 0 it is the recipe's. Several replay corpora
    keep their proportions. The bound is aimed at, not guaranteed: what a batch costs is seen only afterwards.

    Recorded at each decision: `share_<corpus>`, `loss` (nats per token), `excess`. What is watched here is decided by:
    judge the outcome on general passages of another probe set.
    """

    every: int = Field(default=10, ge=1)
    """At every n-th state."""
    general: str = "general"
    """Probe set of general text."""
    passages: int = Field(default=16, ge=1)
    """Of it, the first ones."""
    bound: float = Field(default=0.02, gt=0)
    """Largest rise of the general loss, as a share of its value at state 0."""
    margin: float = Field(default=0.8, gt=0, le=1)
    """Share of the bound from which on replay is raised."""
    raise_by: float = Field(default=1.5, gt=1)
    """Factor of the share when it is raised."""
    lower_by: float = Field(default=0.95, gt=0, lt=1)
    """Factor of the share when it is lowered."""
    floor: float = Field(default=0.01, gt=0, lt=1)
    """Smallest share of replayed text, over all its corpora."""
    ceiling: float = Field(default=0.5, gt=0, lt=1)
    """Largest."""

    decides: ClassVar[frozenset[Decided]] = frozenset({"replay"})
    cost: ClassVar[str] = "one forward pass over `passages` general passages per decision"
    probe_keys: ClassVar[tuple[str, ...]] = ("general",)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.floor > self.ceiling:
            raise refusal(f"floor {self.floor:g} is above ceiling {self.ceiling:g}", "floor")
        return self

    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """The shares from here on."""
        if context.training is None:
            raise OntogenyError(f"'{type(self).kind}' needs the training itself: put it into train.controls")
        loss = mean_nll(context.model, held_out(context, self.general, self.passages, type(self).kind))
        excess = loss / past[0].seen["loss"] - 1 if past else 0.0
        now = context.training.replay
        share = sum(now.values())
        if past:
            share *= self.raise_by if excess >= self.margin * self.bound else self.lower_by
        share = min(max(share, self.floor), self.ceiling)
        shares = {name: share * one / sum(now.values()) for name, one in now.items()}
        return Decision(step=context.progress.step, replay=shares, seen={"loss": loss, "excess": excess})
