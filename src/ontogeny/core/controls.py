"""What decides during training: from what it sees before a step."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import Field

from ontogeny.core.component import Component
from ontogeny.core.contracts import Context

Decided = Literal["learning_rate", "replay", "layers"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a control decided at a state. It holds from the next step on, until the same control decides again."""

    step: int
    learning_rate: float | None = None
    """Instead of the scheduled one, recorded as `<kind>_rate`; None leaves it."""
    replay: Mapping[str, float] | None = None
    """Share of each replay corpus from the next batch on, recorded as `<kind>_share_<corpus>`; None leaves them."""
    layer_slope: tuple[float, float] | None = None
    """Learning-rate multipliers of the first and the last block, linear in between, recorded as `<kind>_first_block`
    and `<kind>_last_block`; None leaves them."""
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

    decides: ClassVar[frozenset[Decided]] = frozenset()
    """What it may decide besides stopping: shares must be known to the plan of batches, layers to the optimizer."""
    cost: ClassVar[str] = ""
    """What a decision costs, in one sentence: shown by `--plan`."""
    probe_keys: ClassVar[tuple[str, ...]] = ()
    """Its settings that name a probe set."""

    @abstractmethod
    def decide(self, context: Context, past: Sequence[Decision]) -> Decision:
        """Decide. `past`: its decisions so far, in order of step. The model is left as it was."""
