"""A curriculum by length."""

from typing import Literal

import numpy as np

from ontogeny.core.contracts import Examples, Order


class ByLength(Order):
    """By number of tokens, ties in the order of the data, the same in every epoch."""

    first: Literal["short", "long"] = "short"
    """Which come first."""

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """Indices by length, int64."""
        lengths = examples.lengths if self.first == "short" else -examples.lengths
        return np.argsort(lengths, kind="stable").astype(np.int64)
