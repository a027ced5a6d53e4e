"""A curriculum by difficulty: the model's loss on each example before training."""

from typing import ClassVar, Literal

import numpy as np

from ontogeny.core.orders import Examples, Order


class ByDifficulty(Order):
    """By mean NLL per token under the model that training starts from; the same in every epoch, ties in data order.

    The model is evaluated on all examples before the first step, and the result is saved with the run.
    """

    first: Literal["easy", "hard"] = "easy"
    """Which examples come first: those with low NLL, or with high."""

    needs_nll: ClassVar[bool] = True

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """Indices sorted by NLL, int64."""
        assert examples.nll is not None
        nll = examples.nll if self.first == "easy" else -examples.nll
        return np.argsort(nll, kind="stable").astype(np.int64)
