"""New text and replayed text in every batch: whose turn is it?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.core.contracts import Examples, Order
from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.core.seeds import derive_seed
from ontogeny.data.example_streams import Streams
from ontogeny.data.part_counts import Part, Tally


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Of every part, from a step on."""

    step: int
    shares: np.ndarray
    """float64 [parts], adding up to 1."""


class MixedPlan:
    """Batches in which stated shares are replayed. A pure function of the step, like `BatchPlan`, whose methods it has.

    New examples come in the run's order, epoch after epoch without a break; each replay corpus in a shuffled order of
    its own. How many of each: `exact`, so that after every step no corpus is more than one example (by tokens: one
    example's tokens) away from its share; or `expected`, drawn anew for every batch. An epoch is one of the new text.
    With the budget `compute`, training of so many epochs is as long as it would be without replay, and sees less new
    text; with `new` it sees all of it, and is longer.
    """

    def __init__(
        self,
        order: Order,
        lengths: Sequence[int] | np.ndarray,
        replay: Mapping[str, tuple[range, float]],
        train: Train,
        nll: np.ndarray | None = None,
    ) -> None:
        """`lengths`, `nll`: of every example, new ones first; `replay`: each corpus's examples, and its share."""
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch, self.seed, self.mixing = train.batch, train.seed, train.mixing
        self.names = ("new", *replay)
        first_replayed = min((part.start for part, _ in replay.values()), default=len(self.lengths))
        self.parts = (range(first_replayed), *(part for part, _ in replay.values()))
        new = Examples(lengths=self.lengths[:first_replayed], nll=None if nll is None else nll[:first_replayed])
        self.tally = Tally(Streams(self.names, self.parts, order, new, train.seed), self.lengths, self._counts)
        replayed = [share for _, share in replay.values()]
        self.shares = np.array([max(1 - math.fsum(replayed), 0.0), *replayed])
        for name, part, share in zip(self.names, self.parts, self.shares, strict=True):
            if share and not len(part):
                raise DataError(f"there is no passage to train on in '{name}'")
        self.changes = [Shares(step=0, shares=self.shares)]
        self.steps_per_epoch = self._steps_per_epoch()

    def batch_at(self, step: int) -> np.ndarray:
        """Examples of the update that leaves state `step`: int64 indices, new ones first."""
        return self.tally.batch_at(step)

    def share_from(self, step: int, replay: Mapping[str, float]) -> None:
        """From that step on each replay corpus has this share; exact counts are kept from there on.

        What was said about that step or later ones falls away. Raises DataError for an unknown corpus, for shares below
        0 and for shares that leave no new text.
        """
        now = zip(self.names, self._in_force(step).shares, strict=True)
        wanted = np.array([replay.get(name, share) for name, share in now])
        wanted[0] = 1 - math.fsum(wanted[1:])
        if not set(replay) <= set(self.names[1:]) or wanted.min() < 0 or not wanted[0] > 0:
            raise DataError(
                f"replay {dict(replay)}: give shares of {', '.join(self.names[1:])} of at least 0, below 1 in all"
            )
        self.changes = [*(one for one in self.changes if one.step < step), Shares(step=step, shares=wanted)]
        self.tally.forget_after(step)

    def shares_at(self, step: int) -> dict[str, float]:
        """The share asked of each replay corpus in the batch at a step."""
        return dict(zip(self.names[1:], map(float, self._in_force(step).shares[1:]), strict=True))

    def _in_force(self, step: int) -> Shares:
        return next(one for one in reversed(self.changes) if one.step <= step)

    def epoch_at(self, step: int) -> float:
        """Epochs of the new text completed at state `step`; of pure replay, as long as if the batches were new."""
        if not self.shares[0]:
            return step / self.steps_per_epoch
        return float(self.tally.taken(step)[0] / len(self.parts[0]))

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`."""
        return int(self.tally.tokens(step).sum())

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. For tokens: the first step that reaches them."""
        if train.steps is not None:
            return train.steps
        if train.epochs is not None:
            if self.mixing.budget == "compute" or not self.shares[0]:
                return max(math.ceil(round(train.epochs * self.steps_per_epoch, 9)), 1)
            wanted = train.epochs * len(self.parts[0])
            return self._first(lambda step: self.tally.taken(step)[0] >= wanted - 1e-9)
        assert train.tokens is not None
        wanted = train.tokens
        which = slice(0, 1) if self.mixing.budget == "new" and self.shares[0] else slice(None)
        return self._first(lambda step: self.tally.tokens(step)[which].sum() >= wanted)

    def composition(self, step: int) -> list[Part]:
        """Where the tokens before state `step` come from."""
        return self.tally.composition(step, self.shares)

    def token_shares(self, step: int) -> dict[str, float]:
        """Of the batch at a step: the share of its tokens that each part has."""
        return self.tally.token_shares(step)

    def _steps_per_epoch(self) -> int:
        """Steps in which the new text is seen once; with the budget `compute`, would be seen without replay."""
        alone = math.ceil(max(len(self.parts[0]), 1) / self.batch)
        if self.mixing.budget == "compute" or not self.shares[0]:
            return alone
        return max(math.ceil(len(self.parts[0]) / (self.batch * self.shares[0]) - 1e-9), 1)

    def _first(self, reached: Callable[[int], bool]) -> int:
        step = 1
        while not reached(step):
            step += 1
        return step

    def _counts(self, step: int) -> np.ndarray:
        """Examples of each part in one batch: int64 [parts], as many as the batch holds in all."""
        since, shares = self._in_force(step).step, self._in_force(step).shares
        if self.mixing.counts == "expected":
            random = np.random.default_rng(derive_seed(self.seed, "mixing", step))
            return random.multinomial(self.batch, shares / shares.sum()).astype(np.int64)
        counts = np.zeros(len(self.parts), dtype=np.int64)
        seen = self.tally.tokens if self.mixing.by == "tokens" else self.tally.taken
        have = (seen(step) - seen(since)).astype(float)
        taken = self.tally.taken(step)
        for _ in range(self.batch):
            sizes = [self._next_size(p, int(taken[p] + counts[p])) if share else 1.0 for p, share in enumerate(shares)]
            lacks = np.array(
                [share * (have.sum() + size) - mine for share, size, mine in zip(shares, sizes, have, strict=True)]
            )
            chosen = int(np.argmax(np.where(shares > 0, lacks / np.array(sizes), -np.inf)))
            counts[chosen] += 1
            have[chosen] += sizes[chosen]
        return counts

    def _next_size(self, part: int, place: int) -> float:
        """What an example counts for: itself, or its tokens."""
        if self.mixing.by == "examples":
            return 1.0
        return float(self.tally.next_size(part, place))
