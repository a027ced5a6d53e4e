"""The loss of sampled batches just before and just after their own step."""

from collections.abc import Sequence

import numpy as np

from ontogeny.core.measures import BatchMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.core.progress import StepEvent
from ontogeny.looking.forward_passes import forward_probe_set
from ontogeny.looking.guard import looking
from ontogeny.looking.observer import Measure
from ontogeny.models.body_and_head import BodyAndHead
from ontogeny.train.session import Session

BATCH_TOKENS = 4096


class BatchLooks:
    """Evaluates the batches that measures sample. Where the step's own loss is the plain NLL, it is the loss before."""

    def __init__(self, session: Session, measures: Sequence[Measure]) -> None:
        self.session = session
        self.measures = [measure for measure in measures if isinstance(measure, BatchMeasure)]
        self._model: BodyAndHead | None = None
        self._before: dict[int, float] = {}
        terms = session.objective.terms
        dropout = any(getattr(module, "p", 0) for module in session.model.modules() if "Drop" in type(module).__name__)
        plain = len(terms) == 1 and terms[0].is_plain_nll and session.train.precision == "fp32"
        self._plain_term = terms[0].label if plain and not dropout else None

    def before_step(self) -> None:
        """Evaluate the next batch at the present state."""
        session = self.session
        if session.step < session.total_steps:
            ids = session.plan.batch_at(session.step)
            whole = len(ids) if self._plain_term else -1  # its loss comes with the step
            counts = {self._count(measure, ids) for measure in self._sampled(session.step)} - {whole}
            self._before = {count: self._nll(ids[:count]) for count in counts}

    def after_step(self, event: StepEvent) -> dict[str, float]:
        """Evaluate the batch after its step; returns metrics by name."""
        ids = np.array(event.example_ids)
        counts = {measure.group: self._count(measure, ids) for measure in self._sampled(event.step)}
        before = {len(ids): event.terms[self._plain_term], **self._before} if self._plain_term else self._before
        after = {count: self._nll(ids[:count]) for count in set(counts.values())}
        return {
            f"{group}_{name}": values[count]
            for group, count in counts.items()
            for name, values in (("before", before), ("after", after))
        }

    def _count(self, measure: BatchMeasure, ids: np.ndarray) -> int:
        """How many of a batch's passages the measure asks for; new ones come first."""
        return int((ids < self.session.new_examples).sum()) if measure.only_new else len(ids)

    def _sampled(self, step: int) -> list[BatchMeasure]:
        return [measure for measure in self.measures if measure.samples(step // self.session.train.repeats)]

    def _nll(self, ids: np.ndarray) -> float:
        """Mean NLL per supervised token, in nats."""
        session = self.session
        batch = ProbeSet(name="batch", passages=[session.examples[i] for i in ids])
        total = count = 0.0
        with looking(session.model):
            self._model = self._model or BodyAndHead(session.model)
            for forward in forward_probe_set(self._model, batch, frozenset({"nll"}), BATCH_TOKENS):
                total += float(forward.nll.where(forward.supervised, forward.nll.new_zeros(())).double().sum())
                count += float(forward.supervised.sum())
        return total / count if count else float("nan")
