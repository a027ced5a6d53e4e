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
    """What becomes of a state. Parameters that are not named stay as they are."""

    weights: "Mapping[str, Tensor]" = field(default_factory=dict)
    """New values of parameters, by name."""
    anew: "Mapping[str, Tensor]" = field(default_factory=dict)
    """bool, by parameter: where the optimizer's moments are set to 0, as they were of another weight."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """Numbers about it: recorded as metrics `<kind>_<name>` of scope `train`."""


class Intervention(Component):
    """Changes the weights at a state, after it was looked at and saved and controls have decided, before the step.

    A pure function of the state, of the start, and of the seed. So an interrupted run, which continues from the state
    as it was saved, changes it the same again.
    """

    at: Cadence
    """At which states; never at the first one, nor at the last, after which no step follows."""

    @abstractmethod
    def apply(self, context: Context) -> Change:
        """Say what the weights become. The model is left as it was."""
