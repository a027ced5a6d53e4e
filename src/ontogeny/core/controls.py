"""What decides during training: from what it sees before a step."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field

from ontogeny.core.component import Component
from ontogeny.core.contracts import Context


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a control decided at a state. It holds from the next step on, until the same control decides again."""

    step: int
    learning_rate: float | None = None
    """Instead of the scheduled one, recorded as `<kind>_rate`; None leaves it."""
    stop: str | None = None
    """Why training ends here; None if it goes on."""
    seen: Mapping[str, float] = field(default_factory=dict)
    """Numbers that it rests on: recorded as metrics `<kind>_<name>` of scope `train`, and given back as the past."""


class Control(Component):
    """Decides at a state, after looks and before the step: a pure function of the state and of its recorded past.

    So an interrupted run decides the same again.
    """

    every: int = Field(default=1, ge=1)
    """At every n-th state."""

    probe_keys: ClassVar[tuple[str, ...]] = ()
    """Its settings that name a probe set."""

    @abstractmethod
    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """Decide. `past`: its decisions so far, in order of step. The model is left as it was."""
