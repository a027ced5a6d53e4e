"""Main effects, interaction and simple effects in a crossed design with repeats (seeds), paired by seed."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from ontogeny.statistics.intervals import t_interval

LEAST = 5
"""Seeds in each cell, below which nothing is claimed."""
NO_SPREAD = 1e-12
"""Of the values' size: less is rounding."""


@dataclass(frozen=True, kw_only=True)
class Effect:
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
    """What a crossed design says of one response."""

    effects: tuple[Effect, ...]
    simple: tuple[Effect, ...]
    """At each combination of the other factors' levels; none with a single factor."""
    interaction_f: float
    """All interactions together: variance between cells beyond the main effects, over the error; NaN with one factor
    or an error of zero."""
    interaction_p: float
    cells: int
    seeds: int
    """In each cell."""
    paired: bool
    """Is each difference taken within seeds? Otherwise the error is the variance within cells."""
    left_out: tuple[Hashable, ...]
    """Seeds that some cell lacks."""

    @property
    def claims(self) -> bool:
        """Are there seeds enough to claim anything?"""
        return self.seeds >= LEAST


def analyze(
    levels: Sequence[Mapping[str, str]], response: Sequence[float], seeds: Sequence[Hashable] | None = None
) -> Factorial | None:
    """Effects and interaction of a complete design; None if it is not, has one value a cell, or one is not finite.

    `levels`: of each run its level by factor; `response`, `seeds`: one of each run. Seeds that every cell has are
    blocks: an effect is taken within each, and tested against how much it differs between them (a paired t test), so
    that what a seed does to all cells alike is no noise, and cells may be noisy to different degrees, as they are.
    Seeds that some cell lacks are left out. Without two common seeds, cells of one size are compared by the variance
    within them (Montgomery, "Design and Analysis of Experiments", 5.3).
    """
    factors = {name: list(dict.fromkeys(one[name] for one in levels)) for name in levels[0]} if levels else {}
    factors = {name: values for name, values in factors.items() if len(values) > 1}
    if not factors or not np.isfinite(np.asarray(response, dtype=np.float64)).all():
        return None
    names = seeds if seeds is not None else range(len(response))
    cells: dict[tuple[str, ...], list[tuple[Hashable, float]]] = {cell: [] for cell in product(*factors.values())}
    for one, name, y in zip(levels, names, response, strict=True):
        cells[tuple(one[factor] for factor in factors)].append((name, float(y)))
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
    counts = [[sum(seed == one for one, _ in cell) for cell in cells] for seed in known]
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
        rest = {one: values for one, values in factors.items() if one != name}
        places = [dict(zip(rest, cell, strict=True)) for cell in product(*rest.values())] if simple else [{}]
        for where, level in product(places, others):
            here = np.array([all(cell[one] == value for one, value in where.items()) for cell in cells])
            own = np.array([cell[name] for cell in cells])
            up, down = here & (own == level), here & (own == first)
            yield name, level, first, where, up / up.sum() - down / down.sum()


def _effects(table: np.ndarray, contrasts: Sequence[_Contrast], paired: bool) -> tuple[Effect, ...]:
    """`table` float [seeds, cells]."""
    found = []
    for factor, level, against, where, weights in contrasts:
        each = table @ weights
        value, low, high, p = t_interval(each) if paired else _unpaired(table, weights)
        varies = np.ptp(each) if paired else np.ptp(table, axis=0).max()
        if varies <= NO_SPREAD * (1 + np.abs(table).max()):
            low, high, p = (float("nan"),) * 3
        found.append(
            Effect(
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
    return tuple(found)


def _unpaired(table: np.ndarray, weights: np.ndarray) -> tuple[float, float, float, float]:
    """Value, interval and p of a contrast by the variance within cells, taken to be one."""
    from scipy import stats

    n, cells = table.shape
    value, freedom = float(table.mean(axis=0) @ weights), cells * (n - 1)
    error = float(np.sqrt(table.var(axis=0, ddof=1).mean() * (weights**2).sum() / n))
    half = float(stats.t.ppf(0.975, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
    return value, value - half, value + half, p


def _interaction(table: np.ndarray, sizes: Sequence[int], paired: bool) -> tuple[float, float]:
    """All interactions together: F and its p.

    Paired: against how much they differ between seeds, with both degrees of freedom reduced by Greenhouse and Geisser's
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
