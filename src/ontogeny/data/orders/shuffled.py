"""A new random order in every epoch."""

import numpy as np

from ontogeny.core.orders import Examples, Order
from ontogeny.core.seeds import derive_seed


class Shuffled(Order):
    """A random permutation, drawn for every epoch from seed and epoch number."""

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """A permutation, int64."""
        return np.random.default_rng(derive_seed(seed, "order", number)).permutation(len(examples))
