"""Main effects, interaction and simple effects in a crossed design with repeats (seeds), paired by seed."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ontogeny.analyses.across._words import NO_CLAIM, block, p_value
from ontogeny.analyses.recorded.loss_curves import outcomes, results
from ontogeny.core.analyses import LEAST_SEEDS, AnalysisAcross, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.intervals import t_interval, t_quantile, two_sided_p

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRuns

NO_SPREAD = 1e-12
"""Of the values' size: less is rounding."""
LEVEL = 0.05
_INCOMPLETE = (
    "lacks a complete design with two seeds or more, all finite: run every combination of the settings with the same "
    "seeds, as a sweep does"
)


class FactorialEffects(AnalysisAcross):
    """Effects of the settings that differ on the last loss of every probe set, in a crossed design with seeds.

    A main effect is the difference of a level from the first level of its setting, averaged over the other settings;
    all interactions are tested together, and where they are significant, each effect is given at each level of the
    others. Every difference is taken within a seed and tested over seeds (paired t, Bonferroni over the effects on one
    probe set); see `crossed_effects`.
    """

    section: ClassVar[str] = "curves"

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Estimate and test them."""
        table = outcomes(runs)
        losses = results(table).filter(regex="^nll ")
        result = self.judge(
            [outcome.levels for outcome in table],
            [outcome.seed for outcome in table],
            {str(column).removeprefix("nll "): losses[column].tolist() for column in losses},
        )
        notes = [
            f"{setting} changes together with {', '.join(others)}: either may have caused its effect"
            for setting, others in runs.inseparable.items()
        ]
        return Result(
            verdict=result.verdict,
            sentences=(*result.sentences, *notes),
            reading=result.reading,
            numbers={**result.numbers, "inseparable": dict(runs.inseparable)},
        )

    def judge(
        self, levels: Sequence[Mapping[str, str]], seeds: Sequence[Hashable], losses: Mapping[str, Sequence[float]]
    ) -> Result:
        """The same from plain values: of each run its levels and seed, and by probe set the loss of each run."""
        if not losses:
            raise StoreError("lacks a probe set that was evaluated at two checkpoints: add evaluation to measures")
        if not levels[0]:
            raise StoreError("lacks settings that differ between the runs: vary one (ontogeny sweep --vary)")
        by_probe = {probe: crossed_effects(levels, values, seeds) for probe, values in losses.items()}
        sentences = [
            block(f"Loss on {probe} at the end, nats per token", _lines(design, len(losses)))
            for probe, design in by_probe.items()
        ]
        return Result(
            verdict=_verdict(by_probe),
            sentences=tuple(sentences),
            reading=_READING,
            numbers={"probes": {probe: design or {"why_not": _INCOMPLETE} for probe, design in by_probe.items()}},
        )


_READING = (
    "Differences are in nats per token, from the first level of each setting. 95% t intervals over seeds, "
    "each by itself; p is corrected by Bonferroni over the effects on one probe set, and for the verdict over probe "
    "sets, too. Where settings interact, a main effect is an average of different effects."
)


def _verdict(by_probe: "Mapping[str, Factorial | None]") -> str:
    designs = {probe: design for probe, design in by_probe.items() if design is not None}
    if not designs:
        return f"not assessable: {_INCOMPLETE}"
    seeds = min(design.seeds for design in designs.values())
    if seeds < LEAST_SEEDS:
        return f"effects of settings on the last losses, {seeds} seeds: {NO_CLAIM}"
    changed = [
        f"{', '.join(settings)} ({probe})"
        for probe, design in designs.items()
        if (settings := dict.fromkeys(effect.factor for effect in design.effects if effect.p * len(by_probe) < LEVEL))
    ]
    return f"settings that change a last loss: {'; '.join(changed)}" if changed else "no setting changes a last loss"


def _lines(design: "Factorial | None", probes: int) -> list[str]:
    """Effects in words; simple effects where settings interact."""
    if design is None:
        return [f"effects: not assessable: {_INCOMPLETE}"]
    size = f"n = {design.seeds} seeds in each of {design.cells} cells"
    lines = [f"{_effect(effect, len(design.effects))}, {size}" for effect in design.effects]
    p = min(design.interaction_p * probes, 1.0)
    if np.isfinite(p):
        over = f" corrected over {probes} probe sets" if probes > 1 else ""
        lines.append(f"interaction: F = {design.interaction_f:.2f}, {p_value(p)}{over}")
    elif design.simple:
        lines.append("interaction: not assessable: nothing varies between seeds")
    if p < LEVEL:
        lines.append("so each main effect above is an average of different effects; each by itself:")
        lines += [f"  {_effect(effect, len(design.simple))}" for effect in design.simple]
    if not design.paired:
        lines.append("cells have no two seeds in common: not paired, error from the variance within cells")
    if design.left_out:
        lines.append(f"left out, since a cell lacks them: seeds {', '.join(map(str, design.left_out))}")
    return lines if design.claims else [*lines, NO_CLAIM]


def _effect(effect: "LevelEffect", tests: int) -> str:
    where = ", ".join(f"{name}={value}" for name, value in effect.where.items())
    words = f"{where + ': ' if where else ''}{effect.factor}: {effect.level} against {effect.against}: "
    words += f"{effect.value:+.4f}"
    if not np.isfinite(effect.p):
        return f"{words}, not assessable: nothing varies between seeds"
    return f"{words} (95% {effect.low:+.4f} to {effect.high:+.4f}), {p_value(effect.p)} corrected over {tests}"


@dataclass(frozen=True, kw_only=True)
class LevelEffect:
    """How much a level differs from the first level of its factor."""

    factor: str
    level: str
    against: str
    where: Mapping[str, str]
    """Levels of the other factors, for a simple effect; empty for a main effect, which averages over them."""
    value: float
    low: float
    high: float
    """95% t interval, by itself."""
    p: float
    """Two-sided, Bonferroni over all main effects, or over all simple effects. NaN, as the interval is, where nothing
    varies between seeds."""


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """Effects on one response in a crossed design."""

    effects: tuple[LevelEffect, ...]
    simple: tuple[LevelEffect, ...]
    """At each combination of the other factors' levels; none with a single factor."""
    interaction_f: float
    """All interactions together: variance between cells beyond the main effects, over the error; NaN with one factor
    or an error of zero."""
    interaction_p: float
    cells: int
    seeds: int
    """In each cell."""
    paired: bool
    """Is each difference taken within a seed? Otherwise the error is the variance within cells."""
    left_out: tuple[Hashable, ...]
    """Seeds that some cell lacks."""

    @property
    def claims(self) -> bool:
        """Are there enough seeds to claim anything?"""
        return self.seeds >= LEAST_SEEDS


def crossed_effects(
    levels: Sequence[Mapping[str, str]], response: Sequence[float], seeds: Sequence[Hashable] | None = None
) -> Factorial | None:
    """Effects and interaction of a complete design; None if it is incomplete, has one value a cell or one not finite.

    `levels`: of each run its level by factor; `response`, `seeds`: one of each run. Seeds that every cell has are
    blocks: an effect is taken within each seed and tested against its variation between seeds (a paired t test). So
    what a seed adds to all cells alike is not noise, and cells may differ in variance. Seeds that some cell lacks are
    left out. Without two common seeds, cells of equal size are compared by the variance within them (Montgomery,
    "Design and Analysis of Experiments", 5.3).
    """
    factors = {name: list(dict.fromkeys(run[name] for run in levels)) for name in levels[0]} if levels else {}
    factors = {name: values for name, values in factors.items() if len(values) > 1}
    if not factors or not np.isfinite(np.asarray(response, dtype=np.float64)).all():
        return None
    names = seeds if seeds is not None else range(len(response))
    cells: dict[tuple[str, ...], list[tuple[Hashable, float]]] = {cell: [] for cell in product(*factors.values())}
    for run, name, y in zip(levels, names, response, strict=True):
        cells[tuple(run[factor] for factor in factors)].append((name, float(y)))
    table, left_out = _blocks(list(cells.values()))
    paired = table is not None
    if table is None:
        left_out, counts = (), {len(cell) for cell in cells.values()}
        if len(counts) != 1 or min(counts) < 2:
            return None
        table = np.array([[y for _, y in cell] for cell in cells.values()]).T
    main = list(_contrasts(factors))
    simple = list(_contrasts(factors, simple=True)) if len(factors) > 1 else []
    f, p = _interaction(table, [len(values) for values in factors.values()], paired)
    return Factorial(
        effects=_effects(table, main, paired),
        simple=_effects(table, simple, paired),
        interaction_f=f,
        interaction_p=p,
        cells=len(cells),
        seeds=len(table),
        paired=paired,
        left_out=left_out,
    )


def _blocks(cells: Sequence[Sequence[tuple[Hashable, float]]]) -> tuple[np.ndarray | None, tuple[Hashable, ...]]:
    """[seeds, cells] of the seeds that each cell has once, and those that some cell lacks; None without two."""
    known = list(dict.fromkeys(seed for cell in cells for seed, _ in cell))
    counts = [[sum(seed == other for other, _ in cell) for cell in cells] for seed in known]
    common = [seed for seed, count in zip(known, counts, strict=True) if set(count) == {1}]
    if len(common) < 2 or any(max(count) > 1 for count in counts):
        return None, ()
    table = np.array([[dict(cell)[seed] for cell in cells] for seed in common])
    return table, tuple(seed for seed in known if seed not in common)


_Contrast = tuple[str, str, str, dict[str, str], np.ndarray]


def _contrasts(factors: Mapping[str, Sequence[str]], simple: bool = False) -> Iterator[_Contrast]:
    """Factor, level, first level, levels of the others, and the weights of the cells [cells]."""
    cells = [dict(zip(factors, cell, strict=True)) for cell in product(*factors.values())]
    for name, (first, *others) in factors.items():
        rest = {other: values for other, values in factors.items() if other != name}
        places = [dict(zip(rest, cell, strict=True)) for cell in product(*rest.values())] if simple else [{}]
        for where, level in product(places, others):
            here = np.array([all(cell[other] == value for other, value in where.items()) for cell in cells])
            own = np.array([cell[name] for cell in cells])
            up, down = here & (own == level), here & (own == first)
            yield name, level, first, where, up / up.sum() - down / down.sum()


def _effects(table: np.ndarray, contrasts: Sequence[_Contrast], paired: bool) -> tuple[LevelEffect, ...]:
    """`table` float [seeds, cells]."""
    effects = []
    for factor, level, against, where, weights in contrasts:
        each = table @ weights
        value, low, high, p = t_interval(each) if paired else _unpaired(table, weights)
        varies = np.ptp(each) if paired else np.ptp(table, axis=0).max()
        if varies <= NO_SPREAD * (1 + np.abs(table).max()):
            low, high, p = (float("nan"),) * 3
        effects.append(
            LevelEffect(
                factor=factor,
                level=level,
                against=against,
                where=where,
                value=value,
                low=low,
                high=high,
                p=min(p * len(contrasts), 1.0),
            )
        )
    return tuple(effects)


def _unpaired(table: np.ndarray, weights: np.ndarray) -> tuple[float, float, float, float]:
    """Value, interval and p of a contrast by the variance within cells, taken to be the same in all cells."""
    n, cells = table.shape
    value, freedom = float(table.mean(axis=0) @ weights), cells * (n - 1)
    error = float(np.sqrt(table.var(axis=0, ddof=1).mean() * (weights**2).sum() / n))
    half = t_quantile(freedom) * error
    return value, value - half, value + half, two_sided_p(value, error, freedom)


def _interaction(table: np.ndarray, sizes: Sequence[int], paired: bool) -> tuple[float, float]:
    """All interactions together: F and its p.

    Paired: against their variation between seeds, with both degrees of freedom reduced by Greenhouse and Geisser's
    epsilon (1959), since cells are not equally noisy; unpaired: against the variance within cells.
    """
    from scipy import stats

    if len(sizes) < 2:
        return float("nan"), float("nan")
    places = np.array(list(product(*(range(size) for size in sizes))))
    main = [places[:, i] == level for i, size in enumerate(sizes) for level in range(1, size)]
    design = np.column_stack([np.ones(len(places)), *main]).astype(np.float64)
    beyond = np.linalg.qr(design, mode="complete")[0][:, design.shape[1] :]
    n, degrees = len(table), beyond.shape[1]
    each = table @ beyond
    between = n * float((each.mean(axis=0) ** 2).sum()) / degrees
    if paired:
        spread = np.atleast_2d(np.cov(each, rowvar=False))
        error, freedom = float(np.trace(spread)) / degrees, float(degrees * (n - 1))
        shrink = float(np.trace(spread) ** 2 / (degrees * (spread**2).sum())) if error > 0 else 1.0
    else:
        error, freedom, shrink = float(table.var(axis=0, ddof=1).mean()), float(table.shape[1] * (n - 1)), 1.0
    if error <= NO_SPREAD**2 * (1 + float(np.square(table).mean())):
        return float("nan"), float("nan")
    return between / error, float(stats.f.sf(between / error, degrees * shrink, freedom * shrink))
