"""Examples of new and of replayed text, one after the other without an end."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ontogeny.core.contracts import Examples, Order
from ontogeny.core.seeds import derive_seed


class Streams:
    """New examples (part 0) in the run's order, epoch after epoch; each replay corpus in a shuffled order of its own.

    Pure functions of the place. The orders of a few epochs are kept in memory.
    """

    def __init__(self, names: Sequence[str], parts: Sequence[range], order: Order, new: Examples, seed: int) -> None:
        """`parts`: the examples of each."""
        self.names, self.parts, self.order, self.new, self.seed = names, parts, order, new, seed
        self._epoch = lru_cache(maxsize=8)(self._draw_epoch)

    def examples(self, part: int, start: int, stop: int) -> np.ndarray:
        """Examples `start` to `stop` of a part's endless stream: int64 indices."""
        count = len(self.parts[part])
        if stop <= start:
            return np.zeros(0, dtype=np.int64)
        first, last = start // count, (stop - 1) // count
        joined = np.concatenate([self._epoch(part, epoch) for epoch in range(first, last + 1)])
        return joined[start - first * count : stop - first * count]

    def _draw_epoch(self, part: int, epoch: int) -> np.ndarray:
        """One epoch of a part."""
        examples = self.parts[part]
        if part == 0:
            order = np.asarray(self.order.epoch(epoch, self.new, self.seed), dtype=np.int64)
        else:
            seed = derive_seed(self.seed, "replay", self.names[part], epoch)
            order = np.random.default_rng(seed).permutation(len(examples))
        return examples.start + order
