"""Means and shares ready to print: with a 95% interval, and in words what it rests on and how it was made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.intervals import Z, t_quantile, wilson

PAIRED = "t intervals, paired, clustered by document"
SEEDS_FOR_T = 5
"""A claim about training needs so many seeds; with fewer, the range over them is shown and no interval."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with a 95% interval (NaN ends when there is too little to say)."""

    value: float
    low: float
    high: float
    n: int
    """How many units the interval rests on."""
    basis: str
    """What the units are, ready to print: 48 passages from 31 documents."""
    how: str = ""
    """How the interval was made, ready to print; empty without one."""
    why: str = ""
    """Why there is none, ready to print, where `basis` does not say it."""
    least: float = np.nan
    """The lowest of the runs behind a mean over seeds; NaN otherwise."""
    most: float = np.nan
    """The highest of them."""

    @property
    def above_zero(self) -> bool:
        """Is the whole interval above zero?"""
        return bool(self.low > 0)

    @property
    def below_zero(self) -> bool:
        """Is the whole interval below zero?"""
        return bool(self.high < 0)

    @property
    def rose(self) -> bool:
        """Is the whole interval above zero, or without one every single run?"""
        return self.above_zero or (not self.how and self.least > 0)

    @property
    def fell(self) -> bool:
        """Is the whole interval below zero, or without one every single run?"""
        return self.below_zero or (not self.how and self.most < 0)

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval, or without one the range over seeds; None without either."""
        low, high = (self.low, self.high) if self.how else (self.least, self.most)
        return (low, high) if np.isfinite([low, high]).all() else None


def clustered_mean(totals: np.ndarray, weights: np.ndarray, clusters: Sequence[str], units: str) -> Estimate:
    """Mean per unit of weight of clustered items, such as nats per token of passages that share documents.

    The mean is sum(totals) / sum(weights). With residuals r_i = total_i - mean * weight_i summed within each of G
    clusters, SE = sqrt(G / (G - 1) * sum_g (sum r)^2) / sum(weights); the interval is t with G - 1 degrees of freedom.
    With equal weights and one item per cluster this is the usual t interval of a mean.

    `totals`, `weights`: float `[n]`; `clusters`: n names; `units`: plural name of the items.
    """
    n = len(totals)
    if n == 0 or weights.sum() == 0:
        return Estimate(value=np.nan, low=np.nan, high=np.nan, n=n, basis=f"no {units}")
    mean = float(totals.sum() / weights.sum())
    _, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    groups = int(index.max()) + 1
    basis = f"{n} {units}" if groups == n else f"{n} {units} from {counted(groups, 'document')}"
    if groups < 2:
        return Estimate(value=mean, low=np.nan, high=np.nan, n=n, basis=f"{basis}, too few for an interval")
    sums = np.bincount(index, weights=totals - mean * weights)
    error = float(np.sqrt(groups / (groups - 1) * np.sum(sums**2)) / weights.sum())
    half = t_quantile(groups - 1) * error
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, basis=basis, how=PAIRED)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of one number per run, over runs that differ in the seed alone; what is not finite is left out.

    The interval is t with n - 1 degrees of freedom, from SEEDS_FOR_T seeds on; `least` and `most` are always given.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    n = len(array)
    mean = float(array.mean()) if n else np.nan
    least, most = (float(array.min()), float(array.max())) if n else (np.nan, np.nan)
    if n < SEEDS_FOR_T:
        seeds = counted(n, "seed")
        why = f"{seeds}: too few for an interval over seeds ({SEEDS_FOR_T} are needed)"
        return Estimate(value=mean, low=np.nan, high=np.nan, n=n, basis=seeds, why=why, least=least, most=most)
    if least == most:
        basis = f"{n} seeds, all alike"
        return Estimate(value=mean, low=np.nan, high=np.nan, n=n, basis=basis, least=least, most=most)
    half = t_quantile(n - 1) * float(array.std(ddof=1) / np.sqrt(n))
    return Estimate(
        value=mean,
        low=mean - half,
        high=mean + half,
        n=n,
        basis=f"{n} seeds",
        how="t intervals over seeds",
        least=least,
        most=most,
    )


def unpaired(value: float, errors: tuple[float, float], n: int, units: str) -> Estimate:
    """A difference of two independent numbers from their standard errors; no interval if one of these is not finite."""
    half = Z * float(np.hypot(errors[0], errors[1]))
    known = bool(np.isfinite(half))
    basis = f"{n} {units}" if n else units
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=n,
        basis=basis if known else f"{basis}, too few for an interval",
        how="intervals from standard errors, not paired" if known else "",
    )


def share(count: int, n: int, units: str) -> Estimate:
    """A share with its 95% score interval (Wilson 1927), as the measure `extraction` gives it."""
    if n == 0:
        return Estimate(value=np.nan, low=np.nan, high=np.nan, n=0, basis=f"no {units}")
    p = count / n
    low, high = (float(end) for end in wilson(np.array(p), np.array(n)))
    return Estimate(value=p, low=low, high=high, n=n, basis=f"{n} {units}", how="Wilson intervals")


def counted(n: int, what: str) -> str:
    """1 seed, 3 seeds."""
    return f"{n} {what}{'' if n == 1 else 's'}"
