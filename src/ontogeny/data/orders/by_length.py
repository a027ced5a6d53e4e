"""A curriculum by length."""

from typing import Literal

import numpy as np

from ontogeny.core.orders import Examples, Order


class ByLength(Order):
    """By number of tokens; the same in every epoch, ties in data order."""

    first: Literal["short", "long"] = "short"
    """Which examples come first."""

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """Indices sorted by length, int64."""
        lengths = examples.lengths if self.first == "short" else -examples.lengths
        return np.argsort(lengths, kind="stable").astype(np.int64)
