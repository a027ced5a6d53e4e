"""Examples as they stand in the data."""

import numpy as np

from ontogeny.core.contracts import Order


class Sequential(Order):
    """The order of the data, the same in every epoch."""

    def epoch(self, number: int, example_count: int, seed: int) -> np.ndarray:
        """0 … `example_count` - 1, int64."""
        return np.arange(example_count, dtype=np.int64)
