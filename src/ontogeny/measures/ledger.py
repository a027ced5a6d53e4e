"""What became of every trained batch: its loss before training, around its own step, and at every later checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import BatchMeasure, Context, ForwardBatch, Look, Need, Observation
from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import numpy_of, variable

NAME = "ledger"


class Ledger(BatchMeasure):
    """Mean NLL per supervised token (nats, evaluation mode) of sampled training batches.

    At every checkpoint `nll` [batch], for all sampled batches, those to come as well: the first checkpoint is the
    reference *before training*; `size` [batch] is the tokens that it rests on. Just before and just after a batch's own
    step the metrics `ledger_before` and `ledger_after` are written: the reference *just after*. Nothing is taken off
    here, and signs are kept: the analysis `retention` compares with either reference, and with novel passages.

    Sampled are whole batches, each with probability `share`, by the seed; batches that a run is extended by are not.
    Axis `batch`: number in the order of training, repeats of a batch not counted. Along it also `place`, the mean place
    of the batch's new passages in the order of the data (NaN: it has none), and `content`, the number of the first
    sampled batch with the same passages.
    """

    share: float = Field(default=0.1, gt=0, le=1)
    """Of the batches."""
    seed: int = 0
    """Decides which."""

    needs: ClassVar[frozenset[Need]] = frozenset({"nll"})
    cost: ClassVar[str] = "per sampled batch a forward pass at its step, and one at every checkpoint"

    def samples(self, batch: int) -> bool:
        """Is that batch among them?"""
        return derive_seed(self.seed, NAME, batch) % 2**32 < self.share * 2**32

    def own_sets(self, context: Context) -> dict[str, ProbeSet]:
        """All passages of the sampled batches, batch after batch, each distinct passage once."""
        distinct = {one.fingerprint: one for batch in self._batches(context).values() for one in batch.passages}
        return {NAME: ProbeSet(name=NAME, passages=list(distinct.values()))}

    def look(self, context: Context) -> Look:
        """Start with nothing seen. Raises OntogenyError where there is no training."""
        return _Look(self._batches(context))

    def _batches(self, context: Context) -> "dict[int, _Batch]":
        """The sampled batches by number."""
        training = context.training
        if training is None:
            raise OntogenyError(f"'{self.group}' needs the training itself: put it into the recipe's measures")
        found = {}
        for n in range(training.planned_batches):
            if self.samples(n):
                places, passages = training.places(n), training.batch(n)
                kept = passages[: len(places)] if self.only_new else passages
                found[n] = _Batch(passages=kept, place=float(np.mean(places)) if len(places) else float("nan"))
        return found


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """What is looked at of it."""

    passages: Sequence[Passage]
    place: float


class _Look:
    def __init__(self, batches: dict[int, _Batch]) -> None:
        fingerprints = {n: [passage.fingerprint for passage in batch.passages] for n, batch in batches.items()}
        self.place = {name: i for i, name in enumerate(dict.fromkeys(chain(*fingerprints.values())))}
        self.rows = [np.array([self.place[name] for name in names], dtype=int) for names in fingerprints.values()]
        first: dict[tuple[str, ...], int] = {}
        self.content = [first.setdefault(tuple(sorted(names)), n) for n, names in fingerprints.items()]
        self.batches = batches
        self.total, self.count = np.zeros(len(self.place)), np.zeros(len(self.place))

    def see(self, batch: ForwardBatch) -> None:
        nll, supervised = numpy_of(batch.nll).astype(np.float64), numpy_of(batch.supervised)
        self.total[batch.rows] = np.where(supervised, nll, 0.0).sum(axis=1)
        self.count[batch.rows] = supervised.sum(axis=1)

    def result(self) -> Observation:
        import xarray as xr

        size = np.array([self.count[at].sum() for at in self.rows])
        total = np.array([self.total[at].sum() for at in self.rows])
        nll = np.divide(total, size, out=np.full(len(size), np.nan), where=size > 0)
        places = np.array([batch.place for batch in self.batches.values()], dtype=np.float64)
        content = np.array(self.content, dtype=np.int64)
        return Observation(
            arrays=xr.Dataset(
                {
                    "nll": variable("batch", nll, "nats", "mean NLL per supervised token of a trained batch"),
                    "size": variable("batch", size.astype(np.int64), "tokens", "supervised tokens of the batch"),
                    "place": variable("batch", places, "passages", "mean place of its new passages in the data"),
                    "content": variable("batch", content, "1", "first sampled batch with the same passages"),
                },
                {"batch": np.array(list(self.batches), dtype=np.int64)},
            )
        )
