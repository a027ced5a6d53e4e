"""Endless streams of examples: one of new text, one of each replay corpus."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.orders import Examples, Order
from ontogeny.core.seeds import derive_seed


class ExampleStreams:
    """New examples (part 0) in the run's order, epoch after epoch; each replay corpus in its own shuffled order.

    Pure functions of the position in the stream. The orders of the last few epochs used are kept in memory.
    """

    def __init__(self, names: Sequence[str], parts: Sequence[range], order: Order, new: Examples, seed: int) -> None:
        """`names`, `parts`: name and examples of each part; `new`: what `order` knows of the new examples."""
        self.names, self.parts, self.order, self.new, self.seed = names, parts, order, new, seed
        self._epoch = lru_cache(maxsize=8)(self._draw_epoch)

    def examples(self, part: int, start: int, stop: int) -> NDArray[np.int64]:
        """Examples at positions `start` to `stop` of a part's stream: int64 indices `[stop - start]`."""
        count = len(self.parts[part])
        if stop <= start:
            return np.zeros(0, dtype=np.int64)
        first, last = start // count, (stop - 1) // count
        joined = np.concatenate([self._epoch(part, epoch) for epoch in range(first, last + 1)])
        return joined[start - first * count : stop - first * count]

    def _draw_epoch(self, part: int, epoch: int) -> NDArray[np.int64]:
        """The examples of a part in the order of one epoch: int64 indices."""
        examples = self.parts[part]
        if part == 0:
            order = np.asarray(self.order.epoch(epoch, self.new, self.seed), dtype=np.int64)
        else:
            seed = derive_seed(self.seed, "replay", self.names[part], epoch)
            order = np.random.default_rng(seed).permutation(len(examples))
        return examples.start + order
