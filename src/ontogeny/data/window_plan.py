"""One window of new text in every step, filled up with replay to a fixed number of tokens."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError
from ontogeny.core.orders import Examples, Order
from ontogeny.core.recipe_train import Train
from ontogeny.data.example_streams import ExampleStreams
from ontogeny.data.part_counts import PartCounts, PartTotals


class WindowPlan:
    """Steps of at most `mixing.max_tokens` tokens: one window makes up `percentage_window` of them, replay the rest.

    A pure function of the step, with the methods of `MixedPlan`. Windows come in the run's order, one per step, so an
    epoch has as many steps as there are windows, at any percentage. Replayed passages are whole: each is drawn from the
    corpus that is furthest below its share of all tokens replayed so far, and the first that no longer fits waits for
    the next step. So a step may stay below `max_tokens` by less than one passage; the shares realised are recorded.
    """

    def __init__(
        self,
        order: Order,
        lengths: Sequence[int] | NDArray[np.int64],
        replay: Mapping[str, tuple[range, float]],
        train: Train,
        nll: NDArray[np.float64] | None = None,
    ) -> None:
        """`lengths`, `nll`: of every example, windows first; `replay`: each corpus's examples, and its share.

        Raises DataError if a part has no examples.
        """
        assert train.mixing.max_tokens is not None
        assert train.mixing.percentage_window is not None
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.max_tokens, self.mixing = train.mixing.max_tokens, train.mixing
        self.names = ("new", *replay)
        first_replayed = min(part.start for part, _ in replay.values())
        self.parts = (range(first_replayed), *(part for part, _ in replay.values()))
        for name, part in zip(self.names, self.parts, strict=True):
            if not len(part):
                raise DataError(f"there is no passage to train on in '{name}'")
        new = Examples(lengths=self.lengths[:first_replayed], nll=None if nll is None else nll[:first_replayed])
        streams = ExampleStreams(self.names, self.parts, order, new, train.seed)
        self.counts = PartCounts(streams, self.lengths, self._choose_counts)
        self.steps_per_epoch = len(self.parts[0])
        window_share = train.mixing.percentage_window / 100
        self.shares = np.array([window_share, *((1 - window_share) * share for _, share in replay.values())])
        """float64 `[parts]`: the shares of a step's tokens that the recipe asks for."""

    def batch_at(self, step: int) -> NDArray[np.int64]:
        """Examples of the batch of step `step`: int64 indices, the window first."""
        return self.counts.batch_at(step)

    def epoch_at(self, step: int) -> float:
        """Epochs of the windows completed at state `step`."""
        return step / self.steps_per_epoch

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`, replayed ones included."""
        return int(self.counts.tokens_before(step).sum())

    def steps_for(self, train: Train) -> int:
        """The length of training in steps.

        If it is given in tokens: the first step that reaches them; with the budget `new`, only the windows' count.
        """
        if train.steps is not None:
            return train.steps
        if train.epochs is not None:
            return max(int(np.ceil(round(train.epochs * self.steps_per_epoch, 9))), 1)
        assert train.tokens is not None
        budgeted = slice(0, 1) if self.mixing.budget == "new" else slice(None)
        return self.counts.first_step(lambda step: int(self.counts.tokens_before(step)[budgeted].sum()), train.tokens)

    def composition(self, step: int) -> list[PartTotals]:
        """Where the tokens before state `step` come from."""
        return self.counts.composition(step, self.shares)

    def token_shares(self, step: int) -> dict[str, float]:
        """Each part's share of the tokens of a step's batch."""
        return self.counts.token_shares(step)

    def _choose_counts(self, step: int) -> NDArray[np.int64]:
        """Examples of each part in the batch of a step: int64 `[parts]`, one window and as much replay as fits."""
        examples, tokens = self.counts.examples_before(step).copy(), self.counts.tokens_before(step).copy()
        used = part = 0
        while used + (size := self.counts.next_size(part, int(examples[part]))) <= self.max_tokens:
            examples[part] += 1
            tokens[part] += size
            used += size
            part = self._furthest_below_share(tokens)
        return np.asarray(examples - self.counts.examples_before(step))

    def _furthest_below_share(self, tokens: NDArray[np.int64]) -> int:
        """The replay corpus that is furthest below its share of the replayed tokens."""
        share = self.shares[1:] / self.shares[1:].sum()
        lacking = share * max(int(tokens[1:].sum()), 1) - tokens[1:]
        return 1 + int(np.argmax(np.where(share == 0, -np.inf, lacking)))
