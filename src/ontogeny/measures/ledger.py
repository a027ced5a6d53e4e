"""What became of every trained batch: its loss before training, around its own step, and at every later checkpoint."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import BatchMeasure, Context, ForwardBatch, Look, Need, Seen
from ontogeny.core.errors import OntogenyError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.seeds import derive_seed
from ontogeny.measures._axes import numpy_of, variable

NAME = "ledger"


class Ledger(BatchMeasure):
    """Mean NLL per supervised token (nats, evaluation mode) of sampled training batches.

    At every checkpoint `nll` [batch], for all sampled batches, those to come as well: the first checkpoint is the
    reference *before training*; `size` [batch] is the tokens that it rests on. Just before and just after a batch's own
    step the metrics `ledger_before` and `ledger_after` are written: the reference *just after*. Nothing is taken off
    here, and signs are kept: the analysis `retention` compares with either reference, and with novel passages.

    Sampled are whole batches, each with probability `share`, by the seed; batches that a run is extended by are not.
    Axis `batch`: number in the order of training, repeats of a batch not counted.
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
        return {NAME: ProbeSet(name=NAME, passages=list(self._passages(context)[0].values()))}

    def look(self, context: Context) -> Look:
        """Start with nothing seen. Raises OntogenyError where there is no training."""
        return _Look(*self._passages(context))

    def _passages(self, context: Context) -> tuple[dict[str, Passage], dict[int, list[str]]]:
        """The distinct passages by fingerprint, and each sampled batch's fingerprints."""
        training = context.training
        if training is None:
            raise OntogenyError(f"'{self.group}' needs the training itself: put it into the recipe's measures")
        sampled = {n: training.batch(n) for n in range(training.planned_batches) if self.samples(n)}
        distinct = {passage.fingerprint: passage for batch in sampled.values() for passage in batch}
        return distinct, {n: [passage.fingerprint for passage in batch] for n, batch in sampled.items()}


class _Look:
    def __init__(self, distinct: dict[str, Passage], batches: dict[int, list[str]]) -> None:
        self.place = {fingerprint: i for i, fingerprint in enumerate(distinct)}
        self.batches = batches
        self.total, self.count = np.zeros(len(distinct)), np.zeros(len(distinct))

    def see(self, batch: ForwardBatch) -> None:
        nll, supervised = numpy_of(batch.nll).astype(np.float64), numpy_of(batch.supervised)
        self.total[batch.rows] = np.where(supervised, nll, 0.0).sum(axis=1)
        self.count[batch.rows] = supervised.sum(axis=1)

    def result(self) -> Seen:
        import xarray as xr

        rows = [np.array([self.place[one] for one in names]) for names in self.batches.values()]
        size = np.array([self.count[at].sum() for at in rows])
        total = np.array([self.total[at].sum() for at in rows])
        nll = np.divide(total, size, out=np.full(len(rows), np.nan), where=size > 0)
        return Seen(arrays=xr.Dataset(
            {
                "nll": variable("batch", nll, "nats", "mean NLL per supervised token of a trained batch"),
                "size": variable("batch", size.astype(np.int64), "tokens", "supervised tokens of the batch"),
            },
            {"batch": np.array(list(self.batches), dtype=np.int64)},
        ))  # fmt: skip
