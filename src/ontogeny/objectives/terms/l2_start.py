"""Stay near the start, all weights alike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import field_validator

from ontogeny.core.penalties import Penalty, Start, require_pull
from ontogeny.core.schedule import Schedule, Scheduled

if TYPE_CHECKING:
    from torch import Tensor


class L2Start(Penalty):
    """Half the squared distance from the weights that training started from: 1/2 sum_i (theta_i - start_i)^2.

    L2-SP of Li et al. 2018, "Explicit inductive bias for transfer learning". Added once to the loss of a step. Unlike
    decoupled weight decay it goes through the optimizer's moments.
    """

    weight: Scheduled = Schedule(value=0.01)
    """Strength, over training, in nats per squared unit of weight."""

    @field_validator("weight")
    @classmethod
    def _pulls(cls, weight: Schedule) -> Schedule:
        return require_pull(weight)

    def remember(self, start: Start) -> "Mapping[str, Tensor]":
        """The weights."""
        from ontogeny.objectives.anchor import anchored

        return anchored(start.model)

    def value(self, parameters: "Mapping[str, Tensor]", remembered: "Mapping[str, Tensor]") -> "Tensor":
        """Half the squared distance."""
        from ontogeny.objectives.anchor import distance

        return distance(parameters, remembered)
