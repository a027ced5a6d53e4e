"""Training on new text alone: which examples make up which batch, as a pure function of the step."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError
from ontogeny.core.orders import Examples, Order
from ontogeny.core.recipe_train import Train


class EpochPlan:
    """Batches that go through all examples once per epoch. Being a function of the step, it has no state to save.

    The last batch of an epoch may be smaller, so that an epoch always ends at a step: with n examples an epoch has
    ceil(n / batch) steps. Whether a batch is split into micro-batches is decided elsewhere.
    Memory: the order of the last few epochs used, and one number per epoch up to the latest one asked for.
    """

    def __init__(
        self,
        order: Order,
        lengths: Sequence[int] | NDArray[np.int64],
        batch: int,
        seed: int,
        nll: NDArray[np.float64] | None = None,
    ) -> None:
        """`lengths`: tokens of every example; `batch`: examples per step; `nll`: as in `core.orders.Examples`.

        Raises DataError if there are no examples.
        """
        if not len(lengths):
            raise DataError("there is nothing to train on: data.train takes no passage")
        self.order = order
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.examples = Examples(lengths=self.lengths, nll=nll)
        self.batch = batch
        self.seed = seed
        self.steps_per_epoch = math.ceil(len(self.lengths) / batch)
        self._tokens_per_epoch = int(self.lengths.sum())
        self._epoch = lru_cache(maxsize=4)(self._draw_epoch)

    def batch_at(self, step: int) -> NDArray[np.int64]:
        """Examples of the batch of step `step`: int64 indices."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[0][step_in_epoch * self.batch : (step_in_epoch + 1) * self.batch].copy()

    def epoch_at(self, step: int) -> float:
        """Epochs completed at state `step`."""
        return step / self.steps_per_epoch

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`: those in the batches of all steps before it."""
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        return self._tokens_before(epoch) + (int(self._epoch(epoch)[1][step_in_epoch]) if step_in_epoch else 0)

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. If it is given in tokens: the first step that reaches them."""
        if train.steps is not None:
            return train.steps
        if train.epochs is not None:
            # Rounded first, so that 0.07 epochs of 100 steps (7.000000000000001) are 7
            return max(math.ceil(round(train.epochs * self.steps_per_epoch, 9)), 1)
        assert train.tokens is not None
        epoch = (train.tokens - 1) // self._tokens_per_epoch
        tokens_within = self._epoch(epoch)[1]
        step_in_epoch = int(np.searchsorted(tokens_within, train.tokens - self._tokens_before(epoch)))
        return epoch * self.steps_per_epoch + step_in_epoch

    def _tokens_before(self, epoch: int) -> int:
        return epoch * self._tokens_per_epoch  # every epoch is a permutation of all examples

    def _draw_epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Examples in order, int64 `[n]`, and tokens seen within the epoch at each of its states, `[steps + 1]`."""
        count = len(self.lengths)
        examples = np.asarray(self.order.epoch(epoch, self.examples, self.seed), dtype=np.int64)
        if examples.shape != (count,):
            raise ValueError(f"order '{type(self.order).kind}' gave {examples.shape} indices for {count} examples")
        tokens_seen = np.concatenate([[0], np.cumsum(self.lengths[examples])])
        ends = np.minimum(np.arange(self.steps_per_epoch + 1) * self.batch, count)
        return examples, tokens_seen[ends]
