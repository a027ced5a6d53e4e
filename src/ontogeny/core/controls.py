"""Controls: what steers a training while it runs, by numbers measured before a step."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from pydantic import Field

from ontogeny.core.component import Component, Settings
from ontogeny.core.measures import Context


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a control decided at a state."""

    step: int
    values: Mapping[str, float] = field(default_factory=dict)
    """The decided settings and the numbers they rest on, recorded as metrics `<kind>_<name>` of scope `train`. Past
    decisions are read back from there, so a decision has at least one, and nothing else about it is known later."""
    stop: str | None = None
    """Why training ends here; None if it goes on."""
    keep: bool = False
    """Is this state to be kept as a checkpoint, in place of the one that the control kept before?"""


class Steering(Protocol):
    """The settings of a training that a control may change. Each holds from the next step on, until it is set again.

    Every method sets a value, whatever it was before: setting it twice is setting it once.
    """

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate, in place of the scheduled one."""
        ...

    def set_replay(self, step: int, shares: Mapping[str, float]) -> None:
        """The share of each replay corpus in the batches from that step on. Raises DataError if nothing is replayed."""
        ...

    def set_layer_slope(self, first: float, last: float) -> None:
        """Learning-rate multipliers of the first and the last block, linear in between. Needs `Control.by_block`."""
        ...

    def set_clip(self, norm: float | None) -> None:
        """The gradient norm to clip to; None does not clip."""
        ...

    def set_term_weight(self, term: str, weight: float) -> None:
        """The weight of a loss term, in place of the scheduled one. Raises OntogenyError for an unknown term."""
        ...

    def set_dropout(self, probability: float) -> None:
        """The probability of all dropout in the model that is not 0 from the start."""
        ...

    @property
    def param_groups(self) -> Sequence[dict[str, Any]]:
        """The optimizer's groups as torch has them, to set `weight_decay`, `betas` and the like; not `lr`.

        Empty where only the objective is computed.
        """
        ...


class Control(Component):
    """Decides at a state, after measures have looked and before the step.

    A control is two pure functions: `decide`, of the state and of the control's recorded past, and `put_in_force`, of
    one decision. A run that is resumed, or opened again at a checkpoint, puts the recorded decisions in force again, in
    the order in which they were made.
    """

    every: int = Field(default=1, ge=1)
    """At every n-th state."""

    by_block: ClassVar[bool] = False
    """Does it set the layer slope? The optimizer's groups are then blocks."""
    cost: ClassVar[str] = ""
    """What a decision costs, in one sentence: shown by `--plan`."""
    probe_keys: ClassVar[tuple[str, ...]] = ()
    """Its settings that name a probe set."""

    def check(self, recipe: Settings, *location: str | int) -> None:
        """Raise `core.component.refusal` if this control is impossible in the recipe, a `core.recipe.Recipe`.

        `location` leads from the recipe to the control: ``raise refusal("lacks replay", *location)``.
        """

    @abstractmethod
    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """Decide. `past`: its decisions so far, in order of step. The model is left as it was."""

    @abstractmethod
    def put_in_force(self, decision: Decision, steering: Steering) -> None:
        """Set what was decided, from `decision.values` alone."""
