"""Batches just before and just after their own step, for measures that sample them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ontogeny.core.contracts import BatchMeasure, StepEvent
from ontogeny.core.passages import ProbeSet
from ontogeny.models.halves import Halves
from ontogeny.train.forwarding import forward_probe_set
from ontogeny.train.guard import looking
from ontogeny.train.session import Session

BATCH_TOKENS = 4096


class Around:
    """Looks at the batches that measures sample. The loss before is the step's own where that is the plain NLL."""

    def __init__(self, session: Session, measures: Sequence[Any]) -> None:
        self.session = session
        self.measures = [measure for measure in measures if isinstance(measure, BatchMeasure)]
        self._halves: Halves | None = None
        self._before = float("nan")
        terms = session.objective.terms
        dropout = any(getattr(module, "p", 0) for module in session.model.modules() if "Drop" in type(module).__name__)
        plain = [type(term).kind for term in terms] == ["next_token"] and session.train.precision == "fp32"
        self._is_plain = plain and not dropout

    def before_step(self) -> None:
        """The next batch, seen from the present state."""
        session = self.session
        if session.step < session.total_steps and self._sampled(session.step) and not self._is_plain:
            self._before = self._nll(session.plan.batch_at(session.step))

    def after_step(self, event: StepEvent) -> dict[str, float]:
        """What to record of the step: by name of the metric."""
        sampled = self._sampled(event.step)
        if not sampled:
            return {}
        before = event.terms["next_token"] if self._is_plain else self._before
        after = self._nll(np.array(event.example_ids))
        return {f"{one.group}_{name}": value for one in sampled for name, value in
                (("before", before), ("after", after))}  # fmt: skip

    def _sampled(self, step: int) -> list[BatchMeasure]:
        return [measure for measure in self.measures if measure.samples(step // self.session.train.repeats)]

    def _nll(self, ids: np.ndarray) -> float:
        """Mean NLL per supervised token, in nats."""
        session = self.session
        batch = ProbeSet(name="batch", passages=[session.examples[i] for i in ids])
        total = count = 0.0
        with looking(session.model):
            self._halves = self._halves or Halves(session.model)
            for seen in forward_probe_set(self._halves, batch, frozenset({"nll"}), BATCH_TOKENS):
                total += float(seen.nll.where(seen.supervised, seen.nll.new_zeros(())).double().sum())
                count += float(seen.supervised.sum())
        return total / count if count else float("nan")
