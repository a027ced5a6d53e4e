"""Examples in the order of the data."""

import numpy as np

from ontogeny.core.orders import Examples, Order


class Sequential(Order):
    """The order of the data, the same in every epoch."""

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """0 … n - 1, int64."""
        return np.arange(len(examples), dtype=np.int64)
