"""New text and replayed text mixed in every batch, in stated shares."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError
from ontogeny.core.orders import Examples, Order
from ontogeny.core.recipe_train import Train
from ontogeny.core.seeds import derive_seed
from ontogeny.data.example_streams import ExampleStreams
from ontogeny.data.part_counts import PartCounts, PartTotals


@dataclass(frozen=True, kw_only=True)
class PartShares:
    """The share of a batch that each part has, from step `step` on."""

    step: int
    shares: NDArray[np.float64]
    """float64 `[parts]`, adding up to 1."""
    owed: NDArray[np.float64]
    """float64 `[parts]`, adding up to 0: how much each part had got less than its earlier shares before that step, in
    examples (by tokens: in tokens)."""


class MixedPlan:
    """Batches in which stated shares are replayed. A pure function of the step, with the methods of `EpochPlan`.

    New examples come in the run's order, epoch after epoch without a break; each replay corpus in its own shuffled
    order. How many of each: `exact`, so that after every step no corpus is more than one example (by tokens: one
    example's tokens) away from its share; or `expected`, drawn anew for every batch. Where shares are decided on the
    way, what `exact` counts still owe a part is carried over, so that also a share that is decided anew before every
    small batch is realised. An epoch is one of the new text.
    With the budget `compute`, a number of epochs takes as many steps as it would without replay, and sees less new
    text; with `new` it sees all of the new text, and takes more steps.
    """

    def __init__(
        self,
        order: Order,
        lengths: Sequence[int] | NDArray[np.int64],
        replay: Mapping[str, tuple[range, float]],
        train: Train,
        nll: NDArray[np.float64] | None = None,
    ) -> None:
        """`lengths`, `nll`: of every example, new ones first; `replay`: each corpus's examples, and its share.

        Raises DataError if a part with a share has no examples.
        """
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.batch, self.seed, self.mixing = train.batch, train.seed, train.mixing
        self.names = ("new", *replay)
        first_replayed = min((part.start for part, _ in replay.values()), default=len(self.lengths))
        self.parts = (range(first_replayed), *(part for part, _ in replay.values()))
        new = Examples(lengths=self.lengths[:first_replayed], nll=None if nll is None else nll[:first_replayed])
        streams = ExampleStreams(self.names, self.parts, order, new, train.seed)
        self.counts = PartCounts(streams, self.lengths, self._choose_counts)
        replayed = [share for _, share in replay.values()]
        self.shares = np.array([max(1 - math.fsum(replayed), 0.0), *replayed])
        for name, part, share in zip(self.names, self.parts, self.shares, strict=True):
            if share and not len(part):
                raise DataError(f"there is no passage to train on in '{name}'")
        self.changes = [PartShares(step=0, shares=self.shares, owed=np.zeros(len(self.parts)))]
        self.decided = False
        """Has a share been decided on the way?"""
        self.carries = True
        """Is what is owed carried over decisions? Not in runs that an earlier version began (`count_anew`)."""
        self.steps_per_epoch = self._steps_per_epoch()

    def batch_at(self, step: int) -> NDArray[np.int64]:
        """Examples of the batch of step `step`: int64 indices, new ones first."""
        return self.counts.batch_at(step)

    def change_shares(self, step: int, replay: Mapping[str, float]) -> None:
        """Give replay corpora these shares from step `step` on; what is owed from before is carried over.

        Changes recorded for that step or later ones are dropped, and the shares that are in force already change no
        batch. Raises DataError for an unknown corpus, for shares below 0 and for shares that leave no new text.
        """
        current = zip(self.names, self._shares_in_force(step).shares, strict=True)
        shares = np.array([replay.get(name, share) for name, share in current])
        shares[0] = 1 - math.fsum(shares[1:])
        if not set(replay) <= set(self.names[1:]) or shares.min() < 0 or not shares[0] > 0:
            raise DataError(
                f"replay {dict(replay)}: give shares of {', '.join(self.names[1:])} of at least 0, below 1 in all"
            )
        self.decided = True
        self.changes = [change for change in self.changes if change.step < step]
        if not self.changes:
            self.changes = [PartShares(step=step, shares=shares, owed=np.zeros(len(self.parts)))]
        elif not self.carries:
            self.changes.append(PartShares(step=step, shares=shares, owed=np.zeros(len(self.parts))))
        elif not np.array_equal(self.changes[-1].shares, shares):
            self.changes.append(PartShares(step=step, shares=shares, owed=self.owed_at(step)))
        self.counts.drop_after(step)

    def owed_at(self, step: int) -> NDArray[np.float64]:
        """How much each part has got less than its shares so far, before step `step`: float64 `[parts]`, sum 0.

        In examples; where shares are counted by tokens, in tokens.
        """
        before = next(change for change in reversed(self.changes) if change.step < step or not change.step)
        amounts = (self.amounts_before(step) - self.amounts_before(before.step)).astype(float)
        return np.asarray(before.owed + before.shares * amounts.sum() - amounts)

    def amounts_before(self, step: int) -> NDArray[np.int64]:
        """Examples of each part before a step, or tokens where shares are counted by tokens: int64 `[parts]`."""
        counted = self.counts.tokens_before if self.mixing.by == "tokens" else self.counts.examples_before
        return counted(step)

    def shares_at(self, step: int) -> dict[str, float]:
        """The share of the batch of step `step` that each replay corpus is to have."""
        return dict(zip(self.names[1:], map(float, self._shares_in_force(step).shares[1:]), strict=True))

    def _shares_in_force(self, step: int) -> PartShares:
        return next(change for change in reversed(self.changes) if change.step <= step)

    def epoch_at(self, step: int) -> float:
        """Epochs of the new text completed at state `step`; of pure replay, counted as if the batches were new text."""
        if not self.shares[0]:
            return step / self.steps_per_epoch
        return float(self.counts.examples_before(step)[0] / len(self.parts[0]))

    def tokens_through(self, step: int) -> int:
        """Tokens seen at state `step`, replayed ones included."""
        return int(self.counts.tokens_before(step).sum())

    def steps_for(self, train: Train) -> int:
        """The length of training in steps. If it is given in tokens: the first step that reaches them."""
        if train.steps is not None:
            return train.steps
        if train.epochs is not None:
            if self.mixing.budget == "compute" or not self.shares[0]:
                return max(math.ceil(round(train.epochs * self.steps_per_epoch, 9)), 1)
            examples = train.epochs * len(self.parts[0])
            return self.counts.first_step(lambda step: float(self.counts.examples_before(step)[0]), examples - 1e-9)
        assert train.tokens is not None
        budgeted = slice(0, 1) if self.mixing.budget == "new" and self.shares[0] else slice(None)
        return self.counts.first_step(lambda step: int(self.counts.tokens_before(step)[budgeted].sum()), train.tokens)

    def composition(self, step: int) -> list[PartTotals]:
        """Where the tokens before state `step` come from."""
        return self.counts.composition(step, self.shares)

    def token_shares(self, step: int) -> dict[str, float]:
        """Each part's share of the tokens of a step's batch."""
        return self.counts.token_shares(step)

    def _steps_per_epoch(self) -> int:
        """Steps in which the new text is seen once; with the budget `compute`, would be seen without replay."""
        without_replay = math.ceil(max(len(self.parts[0]), 1) / self.batch)
        if self.mixing.budget == "compute" or not self.shares[0]:
            return without_replay
        return max(math.ceil(len(self.parts[0]) / (self.batch * self.shares[0]) - 1e-9), 1)

    def _choose_counts(self, step: int) -> NDArray[np.int64]:
        """Examples of each part in the batch of a step: int64 `[parts]`, adding up to the batch size."""
        in_force = self._shares_in_force(step)
        shares = in_force.shares
        if self.mixing.counts == "expected":
            random = np.random.default_rng(derive_seed(self.seed, "mixing", step))
            return random.multinomial(self.batch, shares / shares.sum()).astype(np.int64)
        counts = np.zeros(len(self.parts), dtype=np.int64)
        amounts = (self.amounts_before(step) - self.amounts_before(in_force.step)).astype(float)
        examples_before = self.counts.examples_before(step)
        for _ in range(self.batch):
            # The next example comes from the part that would be furthest below its share, in units of that example.
            sizes = [
                self._next_size(part, int(examples_before[part] + counts[part])) if share else 1.0
                for part, share in enumerate(shares)
            ]
            lacking = np.array(
                [
                    owed + (share * (amounts.sum() + size) - amount)
                    for owed, share, size, amount in zip(in_force.owed, shares, sizes, amounts, strict=True)
                ]
            )
            chosen = int(np.argmax(np.where(shares > 0, lacking / np.array(sizes), -np.inf)))
            counts[chosen] += 1
            amounts[chosen] += sizes[chosen]
        return counts

    def _next_size(self, part: int, position: int) -> float:
        """What the next example of a part counts for: 1, or its tokens."""
        return float(self.counts.next_size(part, position)) if self.mixing.by == "tokens" else 1.0
