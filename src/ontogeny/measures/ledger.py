"""The loss of sampled training batches: before training, just before and after their step, and at every checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import BatchMeasure, Context, ForwardBatch, Look, Need, Observation
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import dataset, numpy_of, variable

NAME = "ledger"


class Ledger(BatchMeasure):
    """Mean NLL per supervised token (nats, evaluation mode) of sampled training batches.

    At every checkpoint `nll` [batch] is recorded for all sampled batches, including those that are still to be trained
    on, so the first checkpoint gives the reference *before training*. `size` [batch] is the number of tokens averaged
    over. Just before and just after a batch's own step the metrics `ledger_before` and `ledger_after` are written; the
    latter is the reference *just after*. No reference is subtracted here: the analysis `retention` compares with
    either one, and with novel passages.

    Whole batches are sampled, each with probability `share`, by the seed; batches added when a run is extended are not.
    The axis `batch` is the batch's number in the order of training, without counting repeats. Along it, `place` is the
    mean place of the batch's new passages in the order of the data (NaN if it has none), and `content` the number of
    the first sampled batch with the same passages.
    """

    share: float = Field(default=0.1, gt=0, le=1)
    """Probability with which a batch is sampled."""
    seed: int = 0
    """Seed of the sample."""

    needs: ClassVar[frozenset[Need]] = frozenset({"nll"})
    cost: ClassVar[str] = "for each sampled batch two forward passes at its step, and one at every checkpoint"

    def samples(self, batch: int) -> bool:
        """Is that batch in the sample?"""
        return derive_seed(self.seed, NAME, batch) % 2**32 < self.share * 2**32

    def own_sets(self, context: Context) -> dict[str, ProbeSet]:
        """All passages of the sampled batches, batch after batch, each distinct passage once."""
        passages = chain.from_iterable(batch.passages for batch in self._batches(context).values())
        distinct = {passage.fingerprint: passage for passage in passages}
        return {NAME: ProbeSet(name=NAME, passages=list(distinct.values()))}

    def look(self, context: Context) -> Look:
        """Lay out the batches. Raises OntogenyError if there is no training."""
        return _LedgerLook(self._batches(context))

    def _batches(self, context: Context) -> "dict[int, _Batch]":
        """The sampled batches by number."""
        training = context.training
        if training is None:
            raise OntogenyError(f"'{self.group}' needs the training itself: put it into the recipe's measures")
        batches = {}
        for number in filter(self.samples, range(training.planned_batches)):
            places, passages = training.places(number), training.batch(number)
            passages = passages[: len(places)] if self.only_new else passages
            place = float(np.mean(places)) if len(places) else float("nan")
            batches[number] = _Batch(passages=passages, place=place)
        return batches


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """A sampled training batch."""

    passages: Sequence[Passage]
    """Those that are evaluated."""
    place: float
    """Mean place of its new passages in the order of the data."""


class _LedgerLook:
    def __init__(self, batches: dict[int, _Batch]) -> None:
        self.batches = batches
        fingerprints = {
            number: [passage.fingerprint for passage in batch.passages] for number, batch in batches.items()
        }
        row_of = {fingerprint: row for row, fingerprint in enumerate(dict.fromkeys(chain(*fingerprints.values())))}
        self.rows = [np.array([row_of[name] for name in names], dtype=int) for names in fingerprints.values()]
        """Rows of each batch's passages in the set of distinct passages."""
        first: dict[tuple[str, ...], int] = {}
        self.content = [first.setdefault(tuple(sorted(names)), number) for number, names in fingerprints.items()]
        self.nll_sums, self.counts = np.zeros(len(row_of)), np.zeros(len(row_of))

    def see(self, batch: ForwardBatch) -> None:
        nll, supervised = numpy_of(batch.nll).astype(np.float64), numpy_of(batch.supervised)
        self.nll_sums[batch.rows] = np.where(supervised, nll, 0.0).sum(axis=1)
        self.counts[batch.rows] = supervised.sum(axis=1)

    def result(self) -> Observation:
        size = np.array([self.counts[rows].sum() for rows in self.rows])
        total = np.array([self.nll_sums[rows].sum() for rows in self.rows])
        nll = np.divide(total, size, out=np.full(len(size), np.nan), where=size > 0)
        places = np.array([batch.place for batch in self.batches.values()], dtype=np.float64)
        content = np.array(self.content, dtype=np.int64)
        variables = {
            "nll": variable("batch", nll, "nats", "mean NLL per supervised token of a trained batch"),
            "size": variable("batch", size.astype(np.int64), "tokens", "supervised tokens of the batch"),
            "place": variable("batch", places, "passages", "mean place of its new passages in the data"),
            "content": variable("batch", content, "1", "first sampled batch with the same passages"),
        }
        return Observation(arrays=dataset(variables, {"batch": np.array(list(self.batches), dtype=np.int64)}))
