"""Orders: which example stands in which slot of which step."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ontogeny.core.component import Component

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What an order may know of the examples that it puts in order."""

    lengths: np.ndarray
    """int64 [n]: tokens."""
    nll: np.ndarray | None = None
    """float64 [n]: mean NLL per token, in nats, before training or under `Order.judge`; there where `needs_nll`."""

    def __len__(self) -> int:
        return len(self.lengths)


class Order(Component):
    """Which example stands in which slot of which step: a pure function of step and seed."""

    needs_nll: ClassVar[bool] = False
    """Does it read `Examples.nll`? The model is then run over all examples before training."""

    @property
    def judge(self) -> str | None:
        """The companion whose NLL it reads; None for the NLL of the model that training starts from."""
        return None

    @abstractmethod
    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """The examples of epoch `number` in order: a permutation of int64 indices below their number."""
