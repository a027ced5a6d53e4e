"""Means and shares with their uncertainty: what was resampled, how many, and a 95% interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

Z = 1.959963984540054
PAIRED = "t intervals, paired, clustered by document"


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

    @property
    def above_zero(self) -> bool:
        """Is the whole interval above zero?"""
        return bool(self.low > 0)

    @property
    def below_zero(self) -> bool:
        """Is the whole interval below zero?"""
        return bool(self.high < 0)


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
    half = float(stdtrit(groups - 1, 0.975)) * error
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n, basis=basis, how=PAIRED)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of one number per run, with a t interval over runs that differ in the seed alone."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    n = len(array)
    mean = float(array.mean()) if n else np.nan
    if n < 2:
        return Estimate(
            value=mean, low=np.nan, high=np.nan, n=n, basis=f"{counted(n, 'seed')}, too few for an interval"
        )
    if np.ptp(array) == 0:
        return Estimate(value=mean, low=np.nan, high=np.nan, n=n, basis=f"{n} seeds, all alike")
    half = float(stdtrit(n - 1, 0.975) * array.std(ddof=1) / np.sqrt(n))
    return Estimate(
        value=mean, low=mean - half, high=mean + half, n=n, basis=f"{n} seeds", how="t intervals over seeds"
    )


def share(count: int, n: int, units: str) -> Estimate:
    """A share with its 95% score interval (Wilson 1927), as the measure `extraction` gives it."""
    if n == 0:
        return Estimate(value=np.nan, low=np.nan, high=np.nan, n=0, basis=f"no {units}")
    p, z2 = count / n, Z**2
    centre, half = (
        (p + z2 / (2 * n)) / (1 + z2 / n),
        Z / (1 + z2 / n) * float(np.sqrt(p * (1 - p) / n + z2 / (4 * n**2))),
    )
    low, high = 0.0 if count == 0 else centre - half, 1.0 if count == n else centre + half
    return Estimate(value=p, low=low, high=high, n=n, basis=f"{n} {units}", how="Wilson intervals")


def counted(n: int, what: str) -> str:
    """1 seed, 3 seeds."""
    return f"{n} {what}{'' if n == 1 else 's'}"
