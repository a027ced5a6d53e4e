"""Stay near the start, all weights alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import field_validator

from ontogeny.core.schedule import Schedule, Scheduled
from ontogeny.core.terms import Forward, Start, Term, Unit, require_pull

if TYPE_CHECKING:
    from torch import Tensor


class L2Start(Term):
    """Half the squared distance from the weights that training started from: 1/2 sum_i (theta_i - start_i)^2.

    L2-SP of Li et al. 2018, "Explicit inductive bias for transfer learning". Added once to the loss of a step. Unlike
    decoupled weight decay it goes through the optimizer's moments.
    """

    weight: Scheduled = Schedule(value=0.01)
    """Strength, over training, in nats per squared unit of weight."""

    anchored: ClassVar[bool] = True

    @field_validator("weight")
    @classmethod
    def _pulls(cls, weight: Schedule) -> Schedule:
        return require_pull(weight)

    def anchor(self, start: Start) -> "Mapping[str, Tensor]":
        """The weights."""
        from ontogeny.objectives.anchor import anchor_of

        return anchor_of(start.model)

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Half the squared distance from the anchor."""
        from ontogeny.objectives.anchor import distance

        return distance(forward.parameters, forward.anchor), "batch"
