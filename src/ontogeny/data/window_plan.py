"""One window of new text in every step, and replay beside it up to a number of tokens."""

from collections.abc import Mapping, Sequence

import numpy as np

from ontogeny.core.contracts import Examples, Order
from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.data.example_streams import Streams
from ontogeny.data.part_counts import Part, Tally


class WindowPlan:
    """Steps of at most `mixing.max_tokens` tokens, of which one window has `percentage_window`; replay has the rest.

    A pure function of the step, with the methods of `MixedPlan`. Windows come in the run's order, one a step, so an
    epoch has as many steps as there are windows, at any percentage. Replayed passages are whole: each is drawn from the
    corpus that lacks most of its share of all replayed tokens so far, and the first that no longer fits waits for the
    next step. So a step may stay below `max_tokens` by less than one passage; what was realised is recorded.
    """

    def __init__(
        self,
        order: Order,
        lengths: Sequence[int] | np.ndarray,
        replay: Mapping[str, tuple[range, float]],
        train: Train,
        nll: np.ndarray | None = None,
    ) -> None:
        """`lengths`, `nll`: of every example, windows first; `replay`: each corpus's examples, and its share."""
        assert train.mixing.max_tokens is not None
        assert train.mixing.percentage_window is not None
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.max_tokens, self.mixing = train.mixing.max_tokens, train.mixing
        self.names = ("new", *replay)
        first = min(part.start for part, _ in replay.values())
        self.parts = (range(first), *(part for part, _ in replay.values()))
        for name, part in zip(self.names, self.parts, strict=True):
            if not len(part):
                raise DataError(f"there is no passage to train on in '{name}'")
        new = Examples(lengths=self.lengths[:first], nll=None if nll is None else nll[:first])
        self.tally = Tally(Streams(self.names, self.parts, order, new, train.seed), self.lengths, self._counts)
        self.steps_per_epoch = len(self.parts[0])
        share = train.mixing.percentage_window / 100
        self.shares = np.array([share, *((1 - share) * one for _, one in replay.values())])
        """Asked for, of a step's tokens."""

    def batch_at(self, step: int) -> np.ndarray:
        """Examples of the update that leaves state `step`: int64 indices, the window first."""
        return self.tally.batch_at(step)

    def epoch_at(self, step: int) -> float:
        """Epochs of the windows completed at state `step`."""
        return step / self.steps_per_epoch

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`."""
        return int(self.tally.tokens(step).sum())

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. For tokens (with the budget `new`: the windows'): the first that reaches."""
        if train.steps is not None:
            return train.steps
        if train.epochs is not None:
            return max(int(np.ceil(round(train.epochs * self.steps_per_epoch, 9))), 1)
        assert train.tokens is not None
        which = slice(0, 1) if self.mixing.budget == "new" else slice(None)
        step = 1
        while self.tally.tokens(step)[which].sum() < train.tokens:
            step += 1
        return step

    def composition(self, step: int) -> list[Part]:
        """Where the tokens before state `step` come from."""
        return self.tally.composition(step, self.shares)

    def token_shares(self, step: int) -> dict[str, float]:
        """Of the batch at a step: the share of its tokens that each part has."""
        return self.tally.token_shares(step)

    def _counts(self, step: int) -> np.ndarray:
        """Examples of each part in one step: int64 [parts], one window and as much replay as fits."""
        taken, tokens = self.tally.taken(step).copy(), self.tally.tokens(step).copy()
        used = part = 0
        while used + (size := self.tally.next_size(part, int(taken[part]))) <= self.max_tokens:
            taken[part] += 1
            tokens[part] += size
            used += size
            part = self._that_lacks_most(tokens)
        return np.asarray(taken - self.tally.taken(step))

    def _that_lacks_most(self, tokens: np.ndarray) -> int:
        """The replay corpus that is furthest below its share of the replayed tokens."""
        share = self.shares[1:] / self.shares[1:].sum()
        lacks = share * max(int(tokens[1:].sum()), 1) - tokens[1:]
        return 1 + int(np.argmax(np.where(share == 0, -np.inf, lacks)))
