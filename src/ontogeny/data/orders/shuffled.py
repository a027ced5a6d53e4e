"""Every epoch in an order of its own."""

import numpy as np

from ontogeny.core.contracts import Order
from ontogeny.core.seeds import derive_seed


class Shuffled(Order):
    """A random permutation, drawn anew for every epoch from seed and epoch number."""

    def epoch(self, number: int, example_count: int, seed: int) -> np.ndarray:
        """A permutation of `example_count` indices, int64."""
        return np.random.default_rng(derive_seed(seed, "order", number)).permutation(example_count)
