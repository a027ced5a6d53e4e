"""What rules see: one line of training, from its start through its resumptions, with its series at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ontogeny.diagnosis.objective import Objective
from ontogeny.store.history import TRAIN, History, Segment, Series

QUALITY_RISES = frozenset(
    {
        "accuracy",
        "token_accuracy",
        "rouge1",
        "rouge2",
        "rougel",
        "rougelsum",
        "rouge_1",
        "rouge_2",
        "rouge_l",
        "bleu",
        "bleu_1",
        "sacrebleu",
        "chrf",
        "meteor",
        "f1",
        "exact_match",
        "em",
        "bertscore",
        "bertscore_f1",
        "hellaswag",
        "pass_1",
        "rewards/accuracies",
        "win_rate",
        "mrr",
        "recall",
        "precision",
    }
)
QUALITY_FALLS = frozenset({"wer", "cer", "ter", "error_rate"})


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One line of training. `joins` are the steps at which it was resumed."""

    history: History
    objective: Objective
    series: Mapping[tuple[str, str], Series]
    """By scope and name, resumptions joined on: what a resumed run wrote replaces what it wrote again."""
    joins: tuple[int, ...] = ()
    segments: tuple[Segment, ...] = field(default_factory=tuple)

    @property
    def config(self) -> Mapping[str, Any]:
        """What the log says of its configuration: keys in `store.history.CONFIG`."""
        return self.history.config

    @property
    def axis(self) -> str:
        """What steps count: `step`, `epoch` or `entry`."""
        return self.segments[0].axis if self.segments else "step"

    def get(self, name: str, scope: str = TRAIN) -> Series | None:
        """One series as logged, NaN included."""
        return self.series.get((scope, name))

    @cached_property
    def loss(self) -> Series | None:
        """The training loss as logged."""
        return self.get("loss")

    @cached_property
    def learning_rate(self) -> Series | None:
        """The learning rate as logged."""
        return self.get("learning_rate")

    @cached_property
    def grad_norm(self) -> Series | None:
        """The gradient norm as logged."""
        return self.get("grad_norm")

    @cached_property
    def eval_losses(self) -> tuple[Series, ...]:
        """The evaluation loss of every evaluation set, finite values alone, the longest first."""
        found = [one.clean() for (scope, name), one in self.series.items() if name == "loss" and scope != TRAIN]
        return tuple(sorted((one for one in found if len(one)), key=len, reverse=True))

    @cached_property
    def quality(self) -> tuple[tuple[Series, bool], ...]:
        """Evaluation metrics that say how good the output is, finite values alone, and whether higher is better."""
        found = []
        for (scope, name), one in self.series.items():
            if scope != TRAIN and name in QUALITY_RISES | QUALITY_FALLS:
                found.append((one.clean(), name in QUALITY_RISES))
        return tuple(pair for pair in found if len(pair[0]))

    def named(self, prefix: str, scope: str = TRAIN) -> dict[str, Series]:
        """Series of a scope whose names begin so, by the rest of their names."""
        return {
            name.removeprefix(prefix): one
            for (own, name), one in self.series.items()
            if own == scope and name.startswith(prefix)
        }

    @cached_property
    def warmup_end(self) -> int:
        """Step at which the learning rate first reaches its highest value; 0 if it is not logged or starts there."""
        rate = self.learning_rate.clean() if self.learning_rate is not None else None
        if rate is None or len(rate) < 3:
            return int(self.config.get("warmup_steps") or 0)
        top = float(rate.values.max())
        reached = int(np.flatnonzero(rate.values >= top * (1 - 1e-6))[0])
        return int(rate.steps[reached]) if reached else 0

    @cached_property
    def first_step(self) -> int:
        """The lowest step of the training loss, or of anything."""
        every = [int(one.steps[0]) for one in self.series.values() if len(one)]
        return min(every, default=0)

    @cached_property
    def last_step(self) -> int:
        """The highest step."""
        every = [int(one.steps[-1]) for one in self.series.values() if len(one)]
        return max(every, default=0)

    @cached_property
    def starts_at_beginning(self) -> bool:
        """Does the log hold the beginning of training, as far as its steps tell?"""
        loss = self.loss if self.loss is not None else next(iter(self.eval_losses), None)
        if loss is None or len(loss) < 2:
            return True
        return int(loss.steps[0]) <= 2 * max(int(np.median(np.diff(loss.steps[:50]))), 1) + 1


def views_of(history: History, objective: Objective) -> list[View]:
    """The lines of training in a log: a resumption continues the line before it; anything else begins a new one."""
    chains: list[list[Segment]] = []
    for segment in history.segments:
        if segment.beginning == "resume" and chains:
            chains[-1].append(segment)
        else:
            chains.append([segment])
    return [_view(history, objective, chain) for chain in chains]


def _view(history: History, objective: Objective, chain: Sequence[Segment]) -> View:
    series: dict[tuple[str, str], Series] = {}
    joins = []
    for number, segment in enumerate(chain):
        starts = [int(one.steps[0]) for one in segment if len(one)]
        start = min(starts, default=0)
        if number:
            joins.append(start)
            series = {key: one.where(one.steps < start) for key, one in series.items()}
        for one in segment:
            key = (one.scope, one.name)
            series[key] = series[key].joined(one) if key in series and len(series[key]) else one
    series = {key: one for key, one in series.items() if len(one)}
    return View(history=history, objective=objective, series=series, joins=tuple(joins), segments=tuple(chain))
