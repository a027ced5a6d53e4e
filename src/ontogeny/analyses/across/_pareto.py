"""What is learned against what is lost, over configurations: non-dominated ones, hypervolume, chosen and reported."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.intervals import t_interval

LEAST = 5
"""Seeds of each configuration, below which nothing is claimed."""
REFERENCE = (1.0, 1.25)
"""The worst that still counts, as shares of the untrained model's losses: nothing learned of the new text, general text
a quarter worse."""
BOUND = 0.02
"""Rise of the general loss that is accepted, as a share of the untrained model's."""
DIRECTIONS = 720


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95% t interval; NaN ends below two seeds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A configuration chosen on one half of the seeds, and what it does on the other."""

    label: str | None
    """None: no configuration keeps the bound on the half that chooses."""
    seeds: tuple[int, ...]
    """Which seeds chose, by their place."""
    new: float
    general: float
    """Mean over the other seeds, as shares of the untrained model's losses."""


@dataclass(frozen=True, kw_only=True)
class Pareto:
    """Losses are shares of the untrained model's: 1 is untrained, less is better."""

    labels: tuple[str, ...]
    new: np.ndarray
    """float [configurations, seeds]"""
    general: np.ndarray
    front: tuple[int, ...]
    """Configurations that no other beats in both means over all seeds, by rising loss of new text."""
    halves: tuple[tuple[int, ...], tuple[int, ...]]
    """Places of the seeds that choose and report in turn."""
    kept: tuple[int, ...]
    """Configurations that are non-dominated on both halves."""
    held_out: Interval
    """Hypervolume: which configuration serves which direction is chosen on one half, its area is of the other."""
    same_seeds: Interval
    """The same chosen and reported on all seeds: too large by what was chosen by chance."""
    within: tuple[Choice, Choice]
    """The least loss of new text whose general loss stays within the bound."""

    @property
    def seeds(self) -> int:
        """Of each configuration."""
        return self.new.shape[1]

    @property
    def claims(self) -> bool:
        """Are there seeds enough to claim anything?"""
        return self.seeds >= LEAST


def analyze(labels: Sequence[str], new: np.ndarray, general: np.ndarray) -> Pareto | None:
    """The front of configurations, float [configurations, seeds] each; None below two configurations or two seeds.

    Whoever looks for the best of many on the seeds that were tried finds what was lucky there. So the seeds are split
    in two by turns (first, third, fifth | second, fourth); what is chosen on one half is reported on the other, both
    ways, so that every seed reports once.
    """
    if new.shape[0] < 2 or new.shape[1] < 2 or not (np.isfinite(new).all() and np.isfinite(general).all()):
        return None
    halves = (tuple(range(0, new.shape[1], 2)), tuple(range(1, new.shape[1], 2)))
    fronts = [non_dominated(_means(new, general, half)) for half in halves]
    everywhere = non_dominated(_means(new, general, range(new.shape[1])))
    by_new = np.argsort(new.mean(axis=1), kind="stable")
    areas = directional(np.stack([new, general], axis=-1))
    return Pareto(
        labels=tuple(labels),
        new=new,
        general=general,
        halves=halves,
        front=tuple(int(i) for i in by_new if everywhere[i]),
        kept=tuple(int(i) for i in by_new if fronts[0][i] and fronts[1][i]),
        held_out=interval(crossfitted(areas, halves).sum(axis=0)),
        same_seeds=interval(_best_on(areas, range(new.shape[1])).sum(axis=0)),
        within=(_within(labels, new, general, *halves), _within(labels, new, general, *halves[::-1])),
    )


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which of float [n, 2] no other beats: bool [n]. Less is better; points that are equal do not beat each other."""
    no_worse = np.all(points[None] <= points[:, None], axis=-1)
    better = np.any(points[None] < points[:, None], axis=-1)
    return np.asarray(~np.any(no_worse & better, axis=1))


def hypervolume(points: np.ndarray, reference: tuple[float, float] = REFERENCE) -> float:
    """Area between the points, float [n, 2], and the reference that at least one of them is better than in both.

    Exact in two dimensions: a sum over the staircase. Points beyond the reference add nothing.
    """
    inside = points[(points < np.array(reference)).all(axis=1)]
    area, lowest = 0.0, reference[1]
    for x, y in inside[np.lexsort((inside[:, 1], inside[:, 0]))]:
        if y < lowest:
            area += (reference[0] - x) * (lowest - y)
            lowest = y
    return area


def directional(points: np.ndarray, reference: tuple[float, float] = REFERENCE) -> np.ndarray:
    """What each point's rectangle to the reference holds of each direction: float [..., 2] -> [directions, ...].

    In polar coordinates around the reference, a rectangle a wide and b high reaches r = min(a / cos, b / sin), and its
    area is the integral of r^2 / 2 over the angles of a quarter circle. The union of rectangles has the largest r in
    every direction; so the hypervolume is a sum of the best in each direction (Deng and Zhang 2019; Zhang and Golovin
    2020), and a choice of configurations is one choice for each direction, which can be made on other seeds.
    """
    reach = np.maximum(np.array(reference) - points, 0.0)
    width = np.pi / 2 / DIRECTIONS
    angles = ((np.arange(DIRECTIONS) + 0.5) * width).reshape(-1, *[1] * (points.ndim - 1))
    radius = np.minimum(reach[..., 0] / np.cos(angles), reach[..., 1] / np.sin(angles))
    return np.asarray(radius**2 / 2 * width)


def crossfitted(values: np.ndarray, halves: tuple[Sequence[int], Sequence[int]]) -> np.ndarray:
    """Of each row the best configuration on one half of the seeds, its values on the other, both ways.

    float [rows, configurations, seeds] -> [rows, seeds]; the largest mean is the best.
    """
    found = np.empty((values.shape[0], values.shape[2]))
    for choose, tell in (halves, halves[::-1]):
        found[:, list(tell)] = _best_on(values, choose)[:, list(tell)]
    return found


def _best_on(values: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Values [rows, seeds] of each row's best configuration by its mean over some seeds."""
    best = values[..., list(seeds)].mean(axis=-1).argmax(axis=1)
    return np.asarray(values[np.arange(len(values)), best])


def _means(new: np.ndarray, general: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    return np.stack([new[:, list(seeds)].mean(axis=1), general[:, list(seeds)].mean(axis=1)], axis=1)


def _within(
    labels: Sequence[str], new: np.ndarray, general: np.ndarray, choose: Sequence[int], tell: Sequence[int]
) -> Choice:
    means = _means(new, general, choose)
    allowed = means[:, 1] <= 1 + BOUND
    best = int(np.where(allowed, means[:, 0], np.inf).argmin())
    there = _means(new, general, tell)[best] if allowed.any() else (np.nan, np.nan)
    return Choice(
        label=labels[best] if allowed.any() else None, seeds=tuple(choose), new=float(there[0]), general=float(there[1])
    )


def interval(values: np.ndarray) -> Interval:
    """Of float [seeds]."""
    value, low, high, _ = t_interval(values)
    return Interval(value=value, low=low, high=high)
