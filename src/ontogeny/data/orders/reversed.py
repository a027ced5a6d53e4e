"""Examples from last to first."""

import numpy as np

from ontogeny.core.orders import Examples, Order


class Reversed(Order):
    """The order of the data reversed, the same in every epoch."""

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """n - 1 … 0, int64."""
        return np.arange(len(examples) - 1, -1, -1, dtype=np.int64)
