"""Main effects and interaction in a crossed design with repeats (seeds)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

LEAST = 5
"""Seeds in each cell, below which nothing is claimed."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """How much a level differs from the first level of its factor, the other factors averaged."""

    factor: str
    level: str
    against: str
    value: float
    low: float
    high: float
    """95% t interval from the variance within cells."""
    p: float
    """Two-sided, Bonferroni over all main effects."""


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """What a crossed design says of one response."""

    effects: tuple[Effect, ...]
    interaction_f: float
    """Variance between cells beyond the main effects, over the variance within; NaN with a single factor."""
    interaction_p: float
    cells: int
    seeds: int
    """In each cell."""

    @property
    def claims(self) -> bool:
        """Are there seeds enough to claim anything?"""
        return self.seeds >= LEAST


def analyze(levels: Sequence[Mapping[str, str]], response: Sequence[float]) -> Factorial | None:
    """Main effects and interaction of a balanced, complete design; None if it is not, or has one value a cell.

    `levels`: of each run its level by factor; `response`: one number of each run. Sums of squares of a balanced fixed
    effects design (Montgomery, "Design and Analysis of Experiments", 5.3).
    """
    from scipy import stats

    factors = {name: list(dict.fromkeys(one[name] for one in levels)) for name in levels[0]} if levels else {}
    factors = {name: values for name, values in factors.items() if len(values) > 1}
    y = np.asarray(response, dtype=np.float64)
    cells = [
        y[[all(one[name] == value for name, value in zip(factors, cell, strict=True)) for one in levels]]
        for cell in product(*factors.values())
    ]
    seeds = {len(cell) for cell in cells}
    if not factors or len(seeds) != 1 or min(seeds) < 2 or not np.isfinite(y).all():
        return None
    n = min(seeds)
    table = np.array(cells).reshape(*(len(values) for values in factors.values()), n)
    means = table.mean(axis=-1)
    within = float(((table - means[..., None]) ** 2).sum())
    freedom = len(cells) * (n - 1)
    variance = within / freedom
    count = sum(len(values) - 1 for values in factors.values())
    effects = []
    for axis, (name, values) in enumerate(factors.items()):
        marginal = means.mean(axis=tuple(i for i in range(means.ndim) if i != axis))
        error = np.sqrt(2 * variance / (len(y) / len(values)))
        half = stats.t.ppf(0.975, freedom) * error
        for i in range(1, len(values)):
            value = float(marginal[i] - marginal[0])
            p = float(2 * stats.t.sf(abs(value) / error, freedom)) if error > 0 else float(value == 0)
            effects.append(Effect(factor=name, level=values[i], against=values[0], value=value, low=value - half,
                                  high=value + half, p=min(p * count, 1.0)))  # fmt: skip
    f, p = _interaction(means, n, variance, freedom, count)
    return Factorial(effects=tuple(effects), interaction_f=f, interaction_p=p, cells=len(cells), seeds=n)


def _interaction(means: np.ndarray, n: int, variance: float, freedom: int, main: int) -> tuple[float, float]:
    """All interactions together: F and its p."""
    from scipy import stats

    if means.ndim < 2:
        return float("nan"), float("nan")
    additive = np.full_like(means, means.mean())
    for axis in range(means.ndim):
        others = tuple(i for i in range(means.ndim) if i != axis)
        additive += means.mean(axis=others, keepdims=True) - means.mean()
    between = n * float(((means - additive) ** 2).sum())
    degrees = means.size - 1 - main
    if variance == 0:
        return float("nan"), float("nan")
    f = between / degrees / variance
    return f, float(stats.f.sf(f, degrees, freedom))
