"""What changes the weights between two steps, otherwise than by a step."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ontogeny.core.component import Component
from ontogeny.core.measures import Context
from ontogeny.core.schedule import Cadence

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Change:
    """What an intervention does to a state. Parameters that are not named stay as they are."""

    weights: "Mapping[str, Tensor]" = field(default_factory=dict)
    """New values of parameters, by name."""
    reset_moments: "Mapping[str, Tensor]" = field(default_factory=dict)
    """bool, by parameter: where the optimizer's moments, which belong to the old weights, are set to 0."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Numbers about it: recorded as metrics `<kind>_<name>` of scope `train`."""


class Intervention(Component):
    """Changes the weights at a state: after measures, checkpoint and controls, before the step.

    A pure function of the state, the initial weights and the seed. So a resumed run, which continues from the state as
    it was saved, makes the same change again.
    """

    at: Cadence
    """At which states; never at the first one, nor at the last, after which no step follows."""

    @abstractmethod
    def apply(self, context: Context) -> Change:
        """The change. The model is left as it was."""
