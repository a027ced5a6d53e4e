"""What is learned against what is lost, over configurations: non-dominated ones, hypervolume, chosen and reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ontogeny.analyses.across._words import ADD_THEM, BOTH_TEXTS, NO_CLAIM, block
from ontogeny.analyses.recorded.loss_curves import Outcome, outcomes, replayed_share, results
from ontogeny.core.analyses import LEAST_SEEDS, AnalysisAcross, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.intervals import t_interval

if TYPE_CHECKING:
    import pandas as pd

    from ontogeny.core.analyses import ComparedRuns

REFERENCE = (1.0, 1.25)
"""The worst that still counts, as shares of the untrained model's losses: nothing learned of the new text, general text
a quarter worse."""
BOUND = 0.02
"""Rise of the general loss that is accepted, as a share of the untrained model's."""
DIRECTIONS = 720
LEVEL = 0.05


class ParetoFront(AnalysisAcross):
    """Last losses of new and of general text, as shares of the untrained model's, over all configurations.

    Which are non-dominated (no other is better in both means), the hypervolume, and the least loss of new text with
    general text within 2%: each chosen on half of the seeds and reported on the other half (`pareto`). Configurations
    that learned nothing of the new text, with what that did to the general text; and over configurations, how much
    more general text rises where new text falls faster.
    """

    section: ClassVar[str] = "forgetting"

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Find the front. Raises StoreError unless all configurations have new and general text and the same seeds."""
        return self.judge(outcomes(runs))

    def judge(self, table: Sequence[Outcome]) -> Result:
        """The same from what the runs came to."""
        rows = results(table)
        if not {"new relative", "general relative"} <= set(rows):
            raise StoreError(f"lacks {BOTH_TEXTS}: {ADD_THEM}")
        labels = [outcome.label for outcome in table]
        wide = rows.assign(label=labels).pivot(
            index="label", columns="seed", values=["new relative", "general relative"]
        )
        wide = wide.loc[list(dict.fromkeys(labels))]
        if wide.isna().any(axis=None):
            raise StoreError(
                "lacks runs of every configuration with the same seeds, their losses finite: run the missing ones, and "
                "leave out what diverged"
            )
        front = pareto(list(wide.index), wide["new relative"].to_numpy(), wide["general relative"].to_numpy())
        if front is None:
            raise StoreError(
                "lacks two configurations with two seeds each, their losses finite: sweep them with --seeds 5"
            )
        idle, slopes = without_progress(front), decay_slopes(rows, replayed_share(table))
        return Result(
            verdict=_verdict(front),
            sentences=(*_front_words(front), *_idle_words(front, idle), *_slope_words(slopes)),
            reading=_READING,
            numbers={
                "front": front,
                "without_progress": [front.labels[i] for i in idle],
                "decay_slopes": [{"where": where, "slope": slope, "seeds": n} for where, slope, n in slopes],
            },
        )


_READING = (
    "Losses are shares of the untrained model's, so 1 is untrained and less is better. The best of many on the seeds "
    "that chose it is partly luck: numbers chosen on one half of the seeds and reported on the other are not biased by "
    "the choice. A front over few configurations says nothing about settings that were not run."
)


def _verdict(front: "Pareto") -> str:
    if not front.claims:
        count = f"{len(front.front)} of {len(front.labels)} configurations"
        return f"{count} are non-dominated, {front.seeds} seeds: {NO_CLAIM}"
    kept = ", ".join(front.labels[i] for i in front.kept) or "none"
    return f"configurations that are non-dominated on both halves of the seeds: {kept}"


def _front_words(front: "Pareto") -> list[str]:
    few = "" if front.claims else f"\n{NO_CLAIM[0].upper()}{NO_CLAIM[1:]}."
    first, second = (_places(half) for half in front.halves)
    kept = [
        f"{'*' if i in front.kept else ' '} {front.labels[i]}: "
        f"new {_words(interval(front.new[i]))}, general {_words(interval(front.general[i]))}"
        for i in front.front
    ]
    area = [
        f"{_words(front.held_out)}  chosen on half of the seeds, reported on the other half, both ways",
        f"{_words(front.same_seeds)}  chosen and reported on the same seeds, which is too much",
        f"the halves, by place of the seed: {first} | {second}",
    ]
    chosen = [
        f"chosen on {_places(choice.seeds)}: "
        + (
            f"{choice.label}: new {choice.new:.4f}, general {choice.general:.4f}"
            if choice.label is not None
            else "none of those tested"
        )
        for choice in front.within
    ]
    reference = f"({REFERENCE[0]:g}, {REFERENCE[1]:g})"
    return [
        "New text against general text: loss at the end as a share of the untrained model's, mean over "
        f"{front.seeds} seeds (95% t intervals).{few}",
        block("Non-dominated (* on both halves of the seeds)", kept),
        block(f"Hypervolume to the reference {reference}, the untrained model being (1, 1)", area),
        block(f"Least loss of new text with general text at most {BOUND:.0%} up, reported on the other half", chosen),
    ]


def without_progress(front: "Pareto") -> list[int]:
    """Configurations whose interval of the new text's loss reaches 1, the untrained model, which is the control."""
    return [i for i, new in enumerate(front.new) if interval(new).high >= 1]


def _idle_words(front: "Pareto", idle: Sequence[int]) -> list[str]:
    lines = []
    for i in idle:
        general = interval(front.general[i])
        damage = "neither up nor down beyond chance"
        if t_interval(front.general[i] - 1).p * len(idle) < LEVEL:
            damage = "up" if general.value > 1 else "down"
        new = _words(interval(front.new[i]))
        lines.append(f"{front.labels[i]}: new {new}, general {_words(general)}, {damage}")
    title = "Learned nothing of the new text (its interval reaches 1), against the untrained model"
    title += f" (up or down: corrected by Bonferroni over these {len(idle)})" if len(idle) > 1 else ""
    return [block(title, lines)] if lines else []


def decay_slopes(rows: "pd.DataFrame", share: str | None) -> "list[tuple[str, Interval, int]]":
    """Does general text rise more where new text falls faster? At each replayed share, over the other settings.

    Rise of the general loss in % of the untrained model's, for each 0.1% by which a step lowers the new text's loss on
    average: a straight line for each seed over its configurations, and the mean slope over seeds, with their number.
    """
    found = []
    for level, part in rows.groupby(share, sort=False) if share else [("", rows)]:
        wide = part.pivot(index="seed", columns="run", values=["new decay", "general relative"])
        slopes = []
        for _, runs_of_seed in wide.iterrows():
            decay, general = runs_of_seed["new decay"].dropna(), runs_of_seed["general relative"].dropna()
            if len(decay) >= 3 and np.ptp(decay) > 0:
                slopes.append(float(np.polyfit(decay * 1000, general * 100, 1)[0]))
        if len(slopes) >= 2:
            found.append((f"{share}={level}" if share else "all runs", interval(np.array(slopes)), len(slopes)))
    return found


def _slope_words(slopes: "Sequence[tuple[str, Interval, int]]") -> list[str]:
    lines = [
        f"{where}: {slope.value:+.3f} ({slope.low:+.3f} to {slope.high:+.3f}), n = {n}"
        + ("" if n >= LEAST_SEEDS else f"; {NO_CLAIM}")
        for where, slope, n in slopes
    ]
    title = "Rise of the general loss, % of the untrained model's, for each 0.1% a step that new text falls faster"
    return [block(title, lines)] if lines else []


def _places(seeds: Sequence[int]) -> str:
    return " ".join(str(place + 1) for place in seeds)


def _words(mean: "Interval") -> str:
    return f"{mean.value:.4f} ({mean.low:.4f} to {mean.high:.4f})"


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
    """Hypervolume: which configuration serves which direction is chosen on one half, its area is of the other. The
    interval allows for halves that go together because they chose for each other."""
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
        """Are there enough seeds to claim anything?"""
        return self.seeds >= LEAST_SEEDS


def pareto(labels: Sequence[str], new: np.ndarray, general: np.ndarray) -> Pareto | None:
    """The front of configurations, float [configurations, seeds] each; None below two configurations or two seeds.

    The best of many configurations on the seeds that chose it is partly luck. So the seeds are split in two by turns
    (first, third, fifth | second, fourth); what is chosen on one half is reported on the other, both ways, so that
    every seed reports once.
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
        held_out=_of_halves(crossfitted(areas, halves).sum(axis=0)),
        same_seeds=interval(_best_on(areas, range(new.shape[1])).sum(axis=0)),
        within=(_within(labels, new, general, *halves), _within(labels, new, general, *halves[::-1])),
    )


def non_dominated(points: np.ndarray) -> np.ndarray:
    """Which of float [n, 2] no other beats: bool [n]. Less is better; points that are equal do not beat each other."""
    no_worse = np.all(points[None] <= points[:, None], axis=-1)
    better = np.any(points[None] < points[:, None], axis=-1)
    return np.asarray(~np.any(no_worse & better, axis=1))


def hypervolume(points: np.ndarray, reference: tuple[float, float] = REFERENCE) -> float:
    """Area up to the reference in which some point, float [n, 2], is better in both losses.

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
    """The area of each point's rectangle to the reference, by direction: float [..., 2] -> [directions, ...].

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
    """For each row the configuration that is best on one half of the seeds: its values on the other half, both ways.

    float [rows, configurations, seeds] -> [rows, seeds]; the largest mean is the best.
    """
    reported = np.empty((values.shape[0], values.shape[2]))
    for choose, report in (halves, halves[::-1]):
        reported[:, list(report)] = _best_on(values, choose)[:, list(report)]
    return reported


def _best_on(values: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    """Values [rows, seeds] of each row's best configuration by its mean over some seeds."""
    best = values[..., list(seeds)].mean(axis=-1).argmax(axis=1)
    return np.asarray(values[np.arange(len(values)), best])


def _means(new: np.ndarray, general: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
    return np.stack([new[:, list(seeds)].mean(axis=1), general[:, list(seeds)].mean(axis=1)], axis=1)


def _within(
    labels: Sequence[str], new: np.ndarray, general: np.ndarray, choose: Sequence[int], report: Sequence[int]
) -> Choice:
    means = _means(new, general, choose)
    allowed = means[:, 1] <= 1 + BOUND
    best = int(np.where(allowed, means[:, 0], np.inf).argmin())
    reported = _means(new, general, report)[best] if allowed.any() else (np.nan, np.nan)
    return Choice(
        label=labels[best] if allowed.any() else None,
        seeds=tuple(choose),
        new=float(reported[0]),
        general=float(reported[1]),
    )


def _of_halves(values: np.ndarray) -> Interval:
    """Of float [seeds], whose halves chose for each other: the t interval, wider by the square root of 2.

    Where luck favours one configuration on both halves, both report it, and where it does not, neither does: the halves
    go together. The variance of the mean of two halves is at most the mean of their variances, twice that of
    independent ones.
    """
    mean = interval(values)
    half = np.sqrt(2) * (mean.high - mean.value)
    return Interval(value=mean.value, low=float(mean.value - half), high=float(mean.value + half))


def interval(values: np.ndarray) -> Interval:
    """Of float [seeds]."""
    value, low, high, _ = t_interval(values)
    return Interval(value=value, low=low, high=high)
