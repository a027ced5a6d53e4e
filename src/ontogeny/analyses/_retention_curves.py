"""What a batch keeps of its gain as it ages, and which curve that follows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.statistics import autocorrelation
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import DRAWS, percentile_interval

LEAST = 8
"""Batches."""
LEAST_AGES = 4
"""Bins of ages that a curve is fitted to."""
MARGIN = 2.0
"""Difference of AICc below which two curves fit alike."""
UNFIT = 0.001
"""A curve with a chi-squared less likely than that does not fit."""


@dataclass(frozen=True, kw_only=True)
class RetentionCurve:
    """Share of a batch's gain that is kept, by age in steps, in A bins of doubling width."""

    age: np.ndarray
    """float64 [A]: mean age."""
    value: np.ndarray
    """float64 [A]"""
    low: np.ndarray
    high: np.ndarray
    """float64 [A]: 95% interval; NaN in a bin with too few independent stretches."""
    n: np.ndarray
    """int64 [A]: batches."""
    draws: np.ndarray
    """float64 [A, draws]: bootstrap values."""
    ages: np.ndarray
    """float64 [A, 64]: quantiles of the ages."""

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """What is kept in the run."""
        return {"age": self.age, "value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class _Bin:
    """One bin of ages, from B batches."""

    ages: np.ndarray
    """int64 [n]: of every batch and checkpoint in it."""
    inside: np.ndarray
    """bool [B]: has the batch a checkpoint at such an age?"""
    kept: np.ndarray
    """float64 [B]: mean gain that is kept at such an age."""
    value: float
    stretches: float

    @property
    def sure(self) -> bool:
        """Has it independent stretches enough for an interval?"""
        return not autocorrelation.lacks(self.stretches)


def retained(batches: TrainedBatches, random: np.random.Generator) -> RetentionCurve:
    """The retention curve, with a bootstrap of blocks of neighbours in training.

    Blocks are twice as long as the longest autocorrelation time of what a batch kept beyond its bin's share, lines on
    its place and its age subtracted; bins with too few independent stretches do not count for the length.
    """
    given = batches.nll[0] - batches.after[-1]
    if batches.novel is not None:
        novel_after = np.interp(batches.trained_at + 1, batches.step, batches.novel)
        given = given - (batches.novel[0] - novel_after)
    bins = list(_bins(batches, given))
    times = [part.inside.sum() / part.stretches for part in bins if part.sure]
    length = autocorrelation.block_length(batches.count, batches.count / max(times, default=1.0))
    weights = autocorrelation.block_weights(batches.count, length, random, DRAWS) / batches.count
    draws = np.array([_share(part, given, weights) for part in bins]).reshape(len(bins), DRAWS)
    ends = [
        percentile_interval(drawn) if part.sure else (np.nan, np.nan) for part, drawn in zip(bins, draws, strict=True)
    ]
    middles = (np.arange(64) + 0.5) / 64
    return RetentionCurve(
        age=np.array([part.ages.mean() for part in bins]),
        value=np.array([part.value for part in bins]),
        low=np.array([low for low, _ in ends]),
        high=np.array([high for _, high in ends]),
        n=np.array([part.inside.sum() for part in bins]),
        draws=draws,
        ages=np.array([np.quantile(part.ages, middles) for part in bins]),
    )


def _bins(batches: TrainedBatches, given: np.ndarray) -> Iterator[_Bin]:
    """Bins with enough batches that gained something together. Only checkpoints at or after a batch's step count."""
    age = batches.step[:, None] - (batches.trained_at[None] + 1)
    kept = batches.nll[:1] - batches.nll
    if batches.novel is not None:
        kept = kept - (batches.novel[0] - batches.novel)[:, None]
    for low, high in pairwise([0, 1, *(2 ** np.arange(1, 40))]):
        at_age = (age >= low) & (age < high)
        inside, looks = at_age.any(axis=0), np.maximum(at_age.sum(axis=0), 1)
        if inside.sum() < LEAST or given[inside].sum() <= 0:
            continue
        mean_kept = np.where(at_age, kept, 0).sum(axis=0) / looks
        mean_age = (np.where(at_age, age, 0).sum(axis=0) / looks)[inside]
        value = float(mean_kept[inside].sum() / given[inside].sum())
        beyond = (mean_kept - value * given)[inside]
        design = np.column_stack([autocorrelation.line_design(len(beyond)), mean_age - mean_age.mean()])
        stretches = autocorrelation.independent_stretches(beyond, design)
        yield _Bin(ages=age[at_age], inside=inside, kept=mean_kept, value=value, stretches=stretches)


def _share(part: _Bin, given: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share kept in each bootstrap sample: of weights [draws, B], float64 [draws]."""
    above, below = np.where(part.inside, part.kept, 0), np.where(part.inside, given, 0)
    return np.asarray((weights @ above) / np.maximum(weights @ below, 1e-12))


def _flat(age: np.ndarray, a: float) -> np.ndarray:
    return np.full_like(age, a)


def _exponential(age: np.ndarray, tau: float) -> np.ndarray:
    return np.asarray(np.exp(-age / tau))


def _power(age: np.ndarray, k: float) -> np.ndarray:
    return np.asarray((1 + age) ** -k)


_CURVES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "flat": _flat,
    "exponential": _exponential,
    "power": _power,
}
_SYMBOL = {"flat": "a", "exponential": "tau_steps", "power": "k"}


def fit(curve: RetentionCurve, refits: int = 200) -> dict[str, Any]:
    """The simplest of the curves that fit: `name`, `parameter`, its `low` and `high`, the AICc of each, and `p` of fit.

    A curve is averaged over the ages in a bin, as the data are; bins without an interval are left out. *none*, if
    even the best has a chi-squared with p below 0.001.
    """
    from scipy.stats import chi2

    sure, bins = np.isfinite(curve.low), len(curve.age)
    if sure.sum() < LEAST_AGES:
        lack = shortage(LEAST_AGES, "age", bins, "train longer, or look more often")
        if bins >= LEAST_AGES:
            remedy = "let the ledger follow a larger share"
            lack = shortage(
                LEAST_AGES, "age", int(sure.sum()), remedy, "with independent batches enough for an interval"
            )
        return {"name": "not assessable", "lacks": lack}
    ages, draws = curve.ages[sure], curve.draws[sure]
    sigma = np.maximum(draws.std(axis=1, ddof=1), 1e-3)
    grids = {name: _Grid.of(name, ages) for name in _CURVES}
    fits = {name: _fitted(grids[name], curve.value[sure], sigma) for name in _CURVES}
    aicc = {name: fitted.aicc for name, fitted in fits.items()}
    best = min(aicc, key=lambda name: aicc[name])
    alike = [name for name in _CURVES if aicc[name] <= aicc[best] + MARGIN]
    name = "flat" if "flat" in alike else best
    low, high = percentile_interval(np.array([_fitted(grids[name], row, sigma).parameter for row in draws.T[:refits]]))
    p = float(chi2.sf(fits[name].chi2, len(sigma) - 1))
    return {
        "name": name if p >= UNFIT else "none",
        "best": name,
        "symbol": _SYMBOL[name],
        "p": p,
        "aicc": aicc,
        "parameter": fits[name].parameter,
        "low": float(low),
        "high": float(high),
        "alike": alike,
    }


@dataclass(frozen=True)
class _Fit:
    parameter: float
    aicc: float
    chi2: float


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Where the search for a curve's parameter begins: what it expects on a coarse grid, the same for all refits."""

    name: str
    ages: np.ndarray
    """float64 [bins, quantiles]"""
    coarse: np.ndarray
    """float64 [60]: the parameter; of tau and k, which are positive, the logarithm."""
    expected: np.ndarray
    """float64 [60, bins]"""

    @classmethod
    def of(cls, name: str, ages: np.ndarray) -> "_Grid":
        coarse = np.linspace(-5.0, 5.0, 60) if name == "flat" else np.linspace(-12.0, 16.0, 60)
        expected = np.array([_CURVES[name](ages, _natural(name, parameter)).mean(axis=1) for parameter in coarse])
        return cls(name=name, ages=ages, coarse=coarse, expected=expected)


def _natural(name: str, parameter: float) -> float:
    return float(parameter if name == "flat" else np.exp(parameter))


def _fitted(grid: _Grid, value: np.ndarray, sigma: np.ndarray) -> _Fit:
    """Weighted least squares of one parameter; `value` and `sigma` [bins]."""
    from scipy.optimize import minimize_scalar

    def chi2(parameter: float) -> float:
        expected = _CURVES[grid.name](grid.ages, _natural(grid.name, parameter)).mean(axis=1)
        return float((((value - expected) / sigma) ** 2).sum())

    start = grid.coarse[int(np.square((value - grid.expected) / sigma).sum(axis=1).argmin())]
    width = grid.coarse[1] - grid.coarse[0]
    best = minimize_scalar(chi2, bounds=(start - width, start + width), method="bounded")
    aicc = float(best.fun) + 2 + 4 / max(len(value) - 2, 1)
    return _Fit(parameter=_natural(grid.name, best.x), aicc=aicc, chi2=float(best.fun))
