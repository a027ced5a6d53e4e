"""Two ways of training compared where both have learned the same: what did each lose by then?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.intervals import t_interval

LEAST = 5
"""Seeds, below which nothing is claimed."""
PARTS = (0.25, 0.5, 1.0)
"""Of the way to the lowest common level: where arms are compared unless levels are given."""


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One run: float64 [checkpoints] each, from the untrained model on."""

    steps: np.ndarray
    new: np.ndarray
    """Loss of held-out text of the kind that is learned."""
    general: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Matched:
    """Of the general loss, second arm minus first, where both have the same loss of new text."""

    level: float
    """That loss of new text."""
    value: float
    low: float
    high: float
    """95% t interval over seeds, paired."""
    p: float
    n: int
    steps: tuple[float, float]
    """Mean steps to get there, of each arm."""

    @property
    def claims(self) -> bool:
        """Are there seeds enough to claim anything?"""
        return self.n >= LEAST


def matched(
    first: Sequence[Trajectory], second: Sequence[Trajectory], levels: Sequence[float] = ()
) -> "list[Matched | str]":
    """Compare arms whose runs stand in the same order of seeds, at each level; why not, where it cannot be done.

    Final losses of arms that learned different amounts say nothing of which way costs less. So each run is read where
    its loss of new text first reaches the level, on straight lines between checkpoints. Without `levels`: at a quarter,
    half and the whole (`PARTS`) of the way from where the lowest run starts to the lowest level that all reached.
    """
    runs = [*first, *second]
    if len(first) != len(second) or len(first) < 2:
        return ["fewer than two seeds in common"]
    if not all(np.isfinite(run.new).all() and np.isfinite(run.general).all() for run in runs):
        return ["a loss is not finite"]
    lowest, start = max(float(run.new.min()) for run in runs), min(float(run.new[0]) for run in runs)
    if not levels:
        if lowest >= start:
            return ["no level below the start that all runs reached"]
        levels = [start - part * (start - lowest) for part in PARTS[:-1]] + [lowest]
    return [_at(first, second, level, lowest, start) for level in levels]


def _at(
    first: Sequence[Trajectory], second: Sequence[Trajectory], level: float, lowest: float, start: float
) -> Matched | str:
    if level < lowest:
        return f"not all runs reached a loss of {level:.4f}; {lowest:.4f} they did"
    if level >= start:
        return f"a run starts at a loss of {start:.4f}, below {level:.4f}"
    there = np.array([[read_at(run, level) for run in arm] for arm in (first, second)])
    value, low, high, p = t_interval(there[1, :, 1] - there[0, :, 1])
    steps = there[..., 0].mean(axis=1)
    return Matched(
        level=level, value=value, low=low, high=high, p=p, n=len(first), steps=(float(steps[0]), float(steps[1]))
    )


def read_at(run: Trajectory, level: float) -> tuple[float, float]:
    """Step and general loss where the loss of new text first is at the level; the run reaches it."""
    i = int(np.argmax(run.new <= level))
    if i == 0:
        return float(run.steps[0]), float(run.general[0])
    part = (run.new[i - 1] - level) / (run.new[i - 1] - run.new[i])
    step, general = (one[i - 1] + part * (one[i] - one[i - 1]) for one in (run.steps, run.general))
    return float(step), float(general)
