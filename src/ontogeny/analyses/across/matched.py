"""Configurations compared where they have learned the same: what did each lose by then?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses.across._words import ADD_THEM, BOTH_TEXTS, NO_CLAIM, block, p_value
from ontogeny.analyses.recorded.loss_curves import Outcome, outcomes
from ontogeny.core.analyses import LEAST_SEEDS, AnalysisAcross, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.intervals import t_interval

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRuns

PARTS = (0.25, 0.5, 1.0)
"""Of the way to the lowest common level: where arms are compared unless levels are given."""
LEVEL = 0.05


class MatchedArms(AnalysisAcross):
    """General loss of every configuration against the first one's, where both have the same loss of new text.

    Last losses of configurations that learned different amounts do not say which of them forgets less for what it
    learns. Differences are paired by seed, p is corrected by Bonferroni over levels and configurations; see `matched`.
    """

    section: ClassVar[str] = "forgetting"

    levels: tuple[float, ...] = Field(default=())
    """Losses of new text in nats per token at which runs are compared; by default three for each configuration."""

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Compare them. Raises StoreError unless there are two configurations with new and general text."""
        return self.judge(outcomes(runs))

    def judge(self, table: Sequence[Outcome]) -> Result:
        """The same from what the runs came to."""
        arms: dict[str, dict[int | str, Trajectory]] = {}
        for outcome in table:
            curves = outcome.curves
            if curves is None or not curves.new or not curves.general:
                raise StoreError(f"lacks {BOTH_TEXTS} in {outcome.run}: {ADD_THEM}")
            run = Trajectory(steps=curves.steps, new=curves.losses[curves.new], general=curves.losses[curves.general])
            arms.setdefault(outcome.label, {})[outcome.seed] = run
        if len(arms) < 2:
            raise StoreError("lacks two configurations: vary a setting (ontogeny sweep --vary)")
        baseline, *labels = arms
        tests = len(labels) * (len(self.levels) or len(PARTS))
        answers: list[tuple[str, Matched | str]] = []
        for label in labels:
            seeds = [seed for seed in arms[baseline] if seed in arms[label]]
            first, second = ([arms[name][seed] for seed in seeds] for name in (baseline, label))
            answers += [(label, answer) for answer in matched(first, second, self.levels)]
        lines = [f"{label}: {_words(answer, tests)}" for label, answer in answers]
        heading = (
            f"General loss where both have the same loss of new text, minus that of  {baseline}  (nats per token, "
            f"paired by seed, 95% t intervals, p corrected by Bonferroni over {tests}: levels x configurations)"
        )
        return Result(
            verdict=_verdict(baseline, answers, tests),
            sentences=(block(heading, lines),),
            reading=_READING,
            numbers={
                "baseline": baseline,
                "differences": [
                    {"label": label, "why_not": answer}
                    if isinstance(answer, str)
                    else {"label": label, **asdict(answer), "p": min(answer.p * tests, 1.0)}
                    for label, answer in answers
                ],
            },
        )


_READING = (
    "Each run is read where its loss of new text first reaches the level, on straight lines between checkpoints. A run "
    "whose loss of new text is noisier reaches a level too early by luck, which favours it."
)


def _verdict(baseline: str, answers: "Sequence[tuple[str, Matched | str]]", tests: int) -> str:
    compared = [(label, answer) for label, answer in answers if not isinstance(answer, str)]
    if not compared:
        return f"not assessable: {answers[0][1]}"
    where = f"at the same loss of new text as {baseline}"
    if not any(answer.claims for _, answer in compared):
        return f"general losses {where}: {NO_CLAIM}"
    different = [
        f"{label} ({answer.value:+.4f} at {answer.level:.4f})"
        for label, answer in compared
        if answer.claims and answer.p * tests < LEVEL
    ]
    return f"general loss differs {where}: {', '.join(different)}" if different else f"no general loss differs {where}"


def _words(difference: "Matched | str", tests: int) -> str:
    if isinstance(difference, str):
        return f"not assessable: {difference}"
    return (
        f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}), "
        f"{p_value(min(difference.p * tests, 1))}, n = {difference.n}, at a loss of {difference.level:.4f}, "
        f"reached after {difference.steps[1]:.1f} steps, there after {difference.steps[0]:.1f}"
        + ("" if difference.claims else f"; {NO_CLAIM}")
    )


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One run: float64 [checkpoints] each, from the untrained model on."""

    steps: np.ndarray
    new: np.ndarray
    """Loss of held-out text of the kind that is learned."""
    general: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Difference of the general loss, second arm minus first, where both have the same loss of new text."""

    level: float
    """The loss of new text, nats per token."""
    value: float
    low: float
    high: float
    """95% t interval over seeds, paired."""
    p: float
    n: int
    steps: tuple[float, float]
    """Mean steps to reach the level, of each arm."""

    @property
    def claims(self) -> bool:
        """Are there enough seeds to claim anything?"""
        return self.n >= LEAST_SEEDS


def matched(
    first: Sequence[Trajectory], second: Sequence[Trajectory], levels: Sequence[float] = ()
) -> "list[Matched | str]":
    """Compare arms whose runs are in the same order of seeds, at each level; or say why that is not possible.

    Each run is read where its loss of new text first reaches the level, on straight lines between checkpoints. Without
    `levels`: at a quarter, half and the whole (`PARTS`) of the way from the lowest first loss to the lowest level that
    all runs reached.
    """
    runs = [*first, *second]
    if len(first) != len(second) or len(first) < 2:
        return ["fewer than two seeds in common: run both with the same seeds"]
    if not all(np.isfinite(run.new).all() and np.isfinite(run.general).all() for run in runs):
        return ["a loss is not finite: leave out what diverged"]
    lowest, start = max(float(run.new.min()) for run in runs), min(float(run.new[0]) for run in runs)
    if not levels:
        if lowest >= start:
            return ["no level below the start that all runs reached: train longer"]
        levels = [start - part * (start - lowest) for part in PARTS[:-1]] + [lowest]
    return [_at(first, second, level, lowest, start) for level in levels]


def _at(
    first: Sequence[Trajectory], second: Sequence[Trajectory], level: float, lowest: float, start: float
) -> Matched | str:
    if level < lowest:
        return f"not all runs reached a loss of {level:.4f}; {lowest:.4f} they did"
    if level >= start:
        return f"a run starts at a loss of {start:.4f}, below {level:.4f}"
    at_level = np.array([[read_at(run, level) for run in arm] for arm in (first, second)])
    value, low, high, p = t_interval(at_level[1, :, 1] - at_level[0, :, 1])
    steps = at_level[..., 0].mean(axis=1)
    return Matched(
        level=level, value=value, low=low, high=high, p=p, n=len(first), steps=(float(steps[0]), float(steps[1]))
    )


def read_at(run: Trajectory, level: float) -> tuple[float, float]:
    """Step and general loss where the loss of new text first is at the level; the run reaches it."""
    i = int(np.argmax(run.new <= level))
    if i == 0:
        return float(run.steps[0]), float(run.general[0])
    part = (run.new[i - 1] - level) / (run.new[i - 1] - run.new[i])
    step, general = (values[i - 1] + part * (values[i] - values[i - 1]) for values in (run.steps, run.general))
    return float(step), float(general)
