"""Loss terms of the weights alone: what moves away from the model that training starts from costs something."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ontogeny.core.component import Component
from ontogeny.core.passages import Passage
from ontogeny.core.schedule import Schedule

if TYPE_CHECKING:
    from torch import Tensor

    from ontogeny.core.recipe_data import Take


def require_pull(weight: Schedule) -> Schedule:
    """The weight of a penalty. Raises ValueError if it falls below 0, where it would push away from the start."""
    if weight.lowest < 0:
        raise ValueError(
            f"a weight of {weight.lowest:g} would push the weights away from their start: write 0 (no penalty) or more"
        )
    return weight


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model that training starts from, as a penalty may look at it once, before the first step."""

    model: Any
    """In evaluation mode."""
    passages: Sequence[Passage]
    """Those of `Penalty.reads`; none without."""
    seed: int
    earlier: "Mapping[str, Tensor]" = field(default_factory=dict)
    """What the term of the same name remembered in the run that the model comes from; empty if there was none."""


class Penalty(Component):
    """A loss term of the trained weights and of what was remembered of the start; `batch` is its unit.

    What it remembers is computed once, before training, and kept in the run: a run that continues reads it there.
    """

    @property
    def name(self) -> str:
        """What it is called in metrics; must differ between the terms of one objective."""
        return type(self).kind

    @property
    def reads(self) -> "Take | None":
        """Passages that it wants to see of the start; None for none."""
        return None

    @abstractmethod
    def remember(self, start: Start) -> "Mapping[str, Tensor]":
        """What has to be known of the start later, as named tensors of their own."""

    @abstractmethod
    def value(self, parameters: "Mapping[str, Tensor]", remembered: "Mapping[str, Tensor]") -> "Tensor":
        """The penalty of these parameters, unweighted; a scalar with a gradient."""
