"""Two ways of training compared where both have learned the same: what did each lose by then?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.analyses._statistics import mean_interval

LEAST = 5
"""Seeds, below which nothing is claimed."""


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
    """That loss of new text: the lowest that every run of both arms reached."""
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


def matched(first: Sequence[Trajectory], second: Sequence[Trajectory]) -> Matched | None:
    """Compare arms whose runs stand in the same order of seeds; None if some run learned nothing that others did not
    start with, or there are fewer than two.

    Final losses of arms that learned different amounts say nothing of which way costs less. So each run is read where
    its loss of new text first reaches the common level, on straight lines between checkpoints.
    """
    if len(first) != len(second) or len(first) < 2:
        return None
    runs = [*first, *second]
    level = max(float(run.new.min()) for run in runs)
    if level >= min(float(run.new[0]) for run in runs):
        return None
    there = np.array([[read_at(run, level) for run in arm] for arm in (first, second)])
    value, low, high, p = mean_interval(there[1, :, 1] - there[0, :, 1])
    steps = there[..., 0].mean(axis=1)
    return Matched(level=level, value=value, low=low, high=high, p=p, n=len(first),
                   steps=(float(steps[0]), float(steps[1])))  # fmt: skip


def read_at(run: Trajectory, level: float) -> tuple[float, float]:
    """Step and general loss where the loss of new text first is at the level; the run reaches it."""
    i = int(np.argmax(run.new <= level))
    if i == 0:
        return float(run.steps[0]), float(run.general[0])
    part = (run.new[i - 1] - level) / (run.new[i - 1] - run.new[i])
    step, general = (one[i - 1] + part * (one[i] - one[i - 1]) for one in (run.steps, run.general))
    return float(step), float(general)
