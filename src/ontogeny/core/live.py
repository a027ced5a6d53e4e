"""What a measure may see of the training that it interrupts."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from ontogeny.core.passages import Passage

if TYPE_CHECKING:
    from torch import Tensor


class TrialSteps(Protocol):
    """Takes real steps, which are taken back afterwards."""

    def step(self, learning_rate: float) -> None:
        """Take the next step at that rate."""
        ...


class LiveTraining(Protocol):
    """The training that a look interrupts. Everything leaves it as it was."""

    @property
    def learning_rate(self) -> float:
        """Scheduled rate of the next step."""
        ...

    @property
    def replay(self) -> Mapping[str, float]:
        """Share that each replay corpus has in the next batch, as asked."""
        ...

    def next_batch(self) -> "dict[str, Tensor]":
        """What the next step is taken on: `input_ids`, `attention_mask`, `supervised` [B, T], on the model's device."""
        ...

    def next_update(self) -> "list[tuple[Tensor, Tensor]]":
        """Each trained tensor with its direction: the next step adds learning rate x direction to it.

        Raises `core.optimizers.DirectionUnknownError` where the optimizer's step is not that.
        """
        ...

    @property
    def planned_batches(self) -> int:
        """How many batches the recipe asks for; repeats of a batch and extensions of the run not counted."""
        ...

    def batch(self, number: int) -> "Sequence[Passage]":
        """The passages of one of them, new ones first."""
        ...

    def places(self, number: int) -> Sequence[int]:
        """Of its new passages (not the replayed ones): their places in the order of the data."""
        ...

    def trial(self) -> "AbstractContextManager[TrialSteps]":
        """Real steps, taken back on leaving: weights, optimizer state and place in the data, bit for bit."""
        ...
