"""Means and shares ready to print: with a 95% interval, and in words what it rests on and how it was made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.documents import effective_number
from ontogeny.statistics.intervals import Z, t_quantile
from ontogeny.statistics.paired import PairedDifference, paired_difference

PAIRED = "t intervals over documents, paired"
UNPAIRED = "intervals from standard errors, not paired"
BY_DOCUMENT = "intervals that count each document as one observation"
SEEDS_FOR_T = 5
"""A claim about training needs so many seeds; with fewer, the range over them is shown and no interval."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with a 95% interval (NaN ends when there is too little to say)."""

    value: float
    low: float
    high: float
    n: int
    """How many documents, or seeds, the interval rests on; 0 where it is not known."""
    basis: str
    """What it rests on, ready to print: 48 passages from 31 documents."""
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
    def paired(self) -> bool:
        """Is it of the same documents before and after?"""
        return self.how == PAIRED

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval, or without one the range over seeds; None without either."""
        low, high = (self.low, self.high) if self.how else (self.least, self.most)
        return (low, high) if np.isfinite([low, high]).all() else None


def clustered_mean(totals: np.ndarray, weights: np.ndarray, clusters: Sequence[str], unit: str) -> Estimate:
    """Mean change per unit of weight of clustered items, such as nats per token of passages that share documents.

    Items are summed by cluster and given to `paired.paired_difference`: sum(totals) / sum(weights), with the
    jackknife's standard error over clusters and a t interval.

    `totals`, `weights`: float `[n]`; `clusters`: n names of documents; `unit`: what an item is, in the singular.
    """
    _, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    by_cluster = paired_difference(np.bincount(index, weights=totals), np.bincount(index, weights=weights))
    return over_documents(by_cluster, len(totals), unit)


def over_documents(difference: PairedDifference, n: int, unit: str) -> Estimate:
    """A paired difference ready to print; it rests on `n` items, called `unit` in the singular."""
    basis, why = sample(n, unit, difference.documents), ""
    known = bool(np.isfinite([difference.low, difference.high]).all())
    if n == 0:
        basis = f"no {unit}s"
    elif difference.documents < 2:
        basis += ", too few for an interval"
        why = f"An interval needs {unit}s from 2 documents or more: take them from more documents (data.probes)"
    return Estimate(
        value=difference.value,
        low=difference.low,
        high=difference.high,
        n=difference.documents,
        basis=basis,
        how=PAIRED if known else "",
        why=why,
    )


def difference_of_means(first: PairedDifference, second: PairedDifference) -> tuple[float, float]:
    """The 95% interval of first minus second, means over different documents: Welch's t; NaN without two in each."""
    value, squares = first.value - second.value, (first.error**2, second.error**2)
    if not np.isfinite(squares).all():
        return float("nan"), float("nan")
    below = squares[0] ** 2 / first.degrees + squares[1] ** 2 / second.degrees
    half = t_quantile(sum(squares) ** 2 / below) * float(np.sqrt(sum(squares))) if below > 0 else 0.0
    return value - half, value + half


def share_interval(share: float, weight: np.ndarray) -> tuple[float, float]:
    """95% interval of a share over items of documents, as if each document were one observation; NaN below two.

    `share`: of all items; `weight` float `[D]`: items of each document. Passages of one document are memorized
    together, at worst all or none, so that D documents of equal size say as much as D independent items; of unequal
    size, as their `effective_number` m. Ends are those of Clopper and Pearson (1934) with m for n. Shares of 0 and 1
    have one end, at a probability of 5%: 1 - 0.05^(1 / m), about 3 / m (the rule of three, Hanley and Lippman-Hand
    1983). Wide where the items of a document differ as those of different ones do.
    """
    from scipy.special import betaincinv  # here, so that `ontogeny diagnose` starts without scipy

    weight = weight[weight > 0]
    if len(weight) < 2 or not np.isfinite(share):
        return float("nan"), float("nan")
    m = effective_number(weight)
    if share <= 0:
        return 0.0, float(1 - 0.05 ** (1 / m))
    if share >= 1:
        return float(0.05 ** (1 / m)), 1.0
    count = share * m
    low, high = betaincinv(count, m - count + 1, 0.025), betaincinv(count + 1, m - count, 0.975)
    return float(low), float(high)


def share(flags: np.ndarray, documents: Sequence[str], unit: str) -> Estimate:
    """A share of items with its interval over documents (`share_interval`).

    `flags`: float `[n]`, 1 or 0, NaN where it was not asked; `documents`: n names; `unit`: of an item, singular.
    """
    known = np.isfinite(flags)
    n = int(known.sum())
    if n == 0:
        return Estimate(value=np.nan, low=np.nan, high=np.nan, n=0, basis=f"no {unit}s")
    _, items = np.unique(np.asarray(documents, dtype=object).astype(str)[known], return_counts=True)
    value = float(flags[known].mean())
    low, high = share_interval(value, items.astype(np.float64))
    few = len(items) < 2
    return Estimate(
        value=value,
        low=low,
        high=high,
        n=len(items),
        basis=sample(n, unit, len(items)) + (", too few for an interval" if few else ""),
        how="" if few else BY_DOCUMENT,
        why=f"An interval needs {unit}s from 2 documents or more: take them from more documents (data.probes)"
        if few
        else "",
    )


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


def unpaired(value: float, errors: tuple[float, float], basis: str) -> Estimate:
    """A difference of two independent numbers from their standard errors; no interval if one of these is not finite.

    `basis`: what they rest on, ready to print.
    """
    half = Z * float(np.hypot(errors[0], errors[1]))
    known = bool(np.isfinite(half))
    return Estimate(
        value=value,
        low=value - half,
        high=value + half,
        n=0,
        basis=basis if known else f"{basis}, too few for an interval",
        how=UNPAIRED if known else "",
    )


def counted(n: int, what: str) -> str:
    """1 seed, 3 seeds, 2 batches."""
    plural = "es" if what.endswith(("ch", "sh", "s", "x")) else "s"
    return f"{n} {what}{'' if n == 1 else plural}"


def sample(n: int, unit: str, documents: int) -> str:
    """48 passages from 31 documents."""
    return f"{counted(n, unit)} from {counted(documents, 'document')}"


def shortage(least: int, what: str, has: int, remedy: str, where: str = "") -> str:
    """Completes *lacks*: 8 checkpoints or more: there is 1; measure more often. `what` in the singular."""
    there = f"there is {has}" if has == 1 else f"there are {has}" if has else "there is none"
    return f"{counted(least, what)} or more{where and f' {where}'}: {there}; {remedy}"
