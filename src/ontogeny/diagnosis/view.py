"""What a rule judges: one line of training, from its start through its resumptions, with its series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ontogeny.diagnosis.objective import ObjectiveKind
from ontogeny.store.history import TRAIN, History, LogConfig, Segment, Series

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
    objective: ObjectiveKind
    series: Mapping[tuple[str, str], Series]
    """By scope and name, resumptions joined: steps that a resumed run repeats replace the earlier ones."""
    joins: tuple[int, ...] = ()
    segments: tuple[Segment, ...] = field(default_factory=tuple)

    @property
    def config(self) -> LogConfig:
        """The configuration that the log states."""
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
        """The loss of every evaluation set, finite values only, the longest series first."""
        losses = [series.clean() for (scope, name), series in self.series.items() if name == "loss" and scope != TRAIN]
        return tuple(sorted((loss for loss in losses if len(loss)), key=len, reverse=True))

    @cached_property
    def quality(self) -> tuple[tuple[Series, bool], ...]:
        """Evaluation metrics of output quality, finite values only, each with whether higher is better."""
        metrics = [
            (series.clean(), name in QUALITY_RISES)
            for (scope, name), series in self.series.items()
            if scope != TRAIN and name in QUALITY_RISES | QUALITY_FALLS
        ]
        return tuple((series, rises) for series, rises in metrics if len(series))

    def named(self, prefix: str, scope: str = TRAIN) -> dict[str, Series]:
        """Series of a scope whose names begin with a prefix, by their names without it."""
        return {
            name.removeprefix(prefix): series
            for (of_scope, name), series in self.series.items()
            if of_scope == scope and name.startswith(prefix)
        }

    @cached_property
    def warmup_end(self) -> int:
        """Step at which the learning rate first reaches its peak; 0 if it starts there.

        Where the rate is not logged, the configured warm-up (0 if not known).
        """
        rate = self.learning_rate.clean() if self.learning_rate is not None else None
        if rate is None or len(rate) < 3:
            return int(self.config.get("warmup_steps") or 0)
        top = float(rate.values.max())
        reached = int(np.flatnonzero(rate.values >= top * (1 - 1e-6))[0])
        return int(rate.steps[reached]) if reached else 0

    @cached_property
    def last_step(self) -> int:
        """The highest step of any series."""
        return max((int(series.steps[-1]) for series in self.series.values() if len(series)), default=0)

    @cached_property
    def starts_at_beginning(self) -> bool:
        """Does the log contain the beginning of training, judging by its steps?"""
        loss = self.loss if self.loss is not None else next(iter(self.eval_losses), None)
        if loss is None or len(loss) < 2:
            return True
        return int(loss.steps[0]) <= 2 * max(int(np.median(np.diff(loss.steps[:50]))), 1) + 1


def views_of(history: History, objective: ObjectiveKind) -> list[View]:
    """The lines of training in a log. A resumption continues the line before it; any other segment begins a new one."""
    chains: list[list[Segment]] = []
    for segment in history.segments:
        if segment.beginning == "resume" and chains:
            chains[-1].append(segment)
        else:
            chains.append([segment])
    return [_view(history, objective, chain) for chain in chains]


def _view(history: History, objective: ObjectiveKind, chain: Sequence[Segment]) -> View:
    series: dict[tuple[str, str], Series] = {}
    joins = []
    for number, segment in enumerate(chain):
        start = min((int(piece.steps[0]) for piece in segment if len(piece)), default=0)
        if number:
            joins.append(start)
            series = {key: earlier.where(earlier.steps < start) for key, earlier in series.items()}
        for piece in segment:
            key = (piece.scope, piece.name)
            series[key] = series[key].joined(piece) if key in series and len(series[key]) else piece
    series = {key: whole for key, whole in series.items() if len(whole)}
    return View(history=history, objective=objective, series=series, joins=tuple(joins), segments=tuple(chain))
