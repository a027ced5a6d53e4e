"""Which examples make up which batch: a pure function of the step."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ontogeny.core.contracts import Examples, Order
from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train


class BatchPlan:
    """The batches of a training run. Nothing about it has to be saved to continue a run exactly.

    The last batch of an epoch may be smaller, so that an epoch always ends at a step: with n examples an epoch has
    ceil(n / batch) steps. Whether a batch is run in one piece or in micro-batches is not its business.
    Keeps the order of a few epochs in memory, and one number for each epoch up to the latest one asked for.
    """

    def __init__(
        self, order: Order, lengths: Sequence[int] | np.ndarray, batch: int, seed: int, nll: np.ndarray | None = None
    ) -> None:
        """`lengths`: tokens of every example; `nll`: what the order may need, `contracts.Examples.nll`."""
        if not len(lengths):
            raise DataError("there is nothing to train on: data.train takes no passage")
        self.order = order
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.examples = Examples(lengths=self.lengths, nll=nll)
        self.batch = batch
        self.seed = seed
        self.steps_per_epoch = math.ceil(len(self.lengths) / batch)
        self._tokens_before_epoch = [0]
        self._epoch = lru_cache(maxsize=4)(self._draw_epoch)

    def batch_at(self, step: int) -> np.ndarray:
        """Examples of the update that leaves state `step`: int64 indices."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[0][place * self.batch : (place + 1) * self.batch].copy()

    def epoch_at(self, step: int) -> float:
        """Epochs completed at state `step`."""
        return step / self.steps_per_epoch

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`, that is in the batches of all steps before it."""
        epoch, place = divmod(step, self.steps_per_epoch)
        return self._tokens_before(epoch) + (int(self._epoch(epoch)[1][place]) if place else 0)

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. For tokens: the first step that reaches them."""
        if train.steps is not None:
            return train.steps
        if train.epochs is not None:
            return max(math.ceil(round(train.epochs * self.steps_per_epoch, 9)), 1)
        assert train.tokens is not None
        epoch = 0
        while self._tokens_before(epoch + 1) < train.tokens:
            epoch += 1
        within = self._epoch(epoch)[1]
        place = int(np.searchsorted(within, train.tokens - self._tokens_before(epoch)))
        return epoch * self.steps_per_epoch + place

    def _tokens_before(self, epoch: int) -> int:
        known = self._tokens_before_epoch
        while len(known) <= epoch:
            known.append(known[-1] + int(self._epoch(len(known) - 1)[1][-1]))
        return known[epoch]

    def _draw_epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Examples in order, int64 `[n]`, and tokens seen within the epoch at each of its states, `[steps + 1]`."""
        count = len(self.lengths)
        examples = np.asarray(self.order.epoch(epoch, self.examples, self.seed), dtype=np.int64)
        if examples.shape != (count,):
            raise ValueError(f"order '{type(self.order).kind}' gave {examples.shape} indices for {count} examples")
        seen = np.concatenate([[0], np.cumsum(self.lengths[examples])])
        ends = np.minimum(np.arange(self.steps_per_epoch + 1) * self.batch, count)
        return examples, seen[ends]
