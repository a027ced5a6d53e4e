"""One random order, the same in every epoch."""

import numpy as np

from ontogeny.core.orders import Examples, Order
from ontogeny.core.seeds import derive_seed


class Cyclic(Order):
    """A random permutation, drawn once from the seed, so that the distance between repeats of an example is constant.

    Under such an order a model can improve on an example before its next repeat (anticipatory recovery), which looks
    like memory of the order; compare with `shuffled`.
    """

    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """The same permutation in every epoch, int64."""
        return np.random.default_rng(derive_seed(seed, "order", "cyclic")).permutation(len(examples))
