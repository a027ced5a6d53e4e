"""Differences between two groups of documents, such as trained and novel ones."""

from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.intervals import DRAWS, percentile_interval


@dataclass(frozen=True, kw_only=True)
class GroupDifference:
    """A difference of means between two groups of documents."""

    value: float
    low: float
    high: float
    """95% percentile bootstrap over documents, within each group."""
    t: float
    p: float
    """Welch's t and its two-sided p, over documents, uncorrected."""
    r: float
    """Point-biserial correlation of group and value over documents."""
    n: tuple[int, int]
    """Documents in each group."""


def group_difference(first: np.ndarray, second: np.ndarray, random: np.random.Generator) -> GroupDifference:
    """Mean of `first` minus mean of `second`, float [documents] each, which may vary to different degrees.

    NaN is left out; with fewer than two documents in a group everything is NaN. Not for the same documents before and
    after: those are paired.
    """
    from scipy import stats

    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    sizes = (len(first), len(second))
    if min(sizes) < 2:
        nan = float("nan")
        return GroupDifference(value=nan, low=nan, high=nan, t=nan, p=nan, r=nan, n=sizes)
    value = float(first.mean() - second.mean())
    low, high = percentile_interval(_bootstrap_means(first, random) - _bootstrap_means(second, random))
    t = float(welch_t(first[None], second[None])[0])
    p = float(stats.ttest_ind(first, second, equal_var=False).pvalue)
    both = np.concatenate([first, second])
    label = np.repeat([1.0, 0.0], sizes)
    r = float(np.corrcoef(label, both)[0, 1]) if both.std() > 0 else float("nan")
    return GroupDifference(value=value, low=float(low), high=float(high), t=t, p=p, r=r, n=sizes)


def _bootstrap_means(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.asarray(values[random.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1))


def welch_t(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Welch's t of each row, from [rows, documents] each: (mean - mean) / sqrt(var / n + var / m) (Welch 1947).

    0 where both groups are constant and equal.
    """
    n, m = first.shape[1], second.shape[1]
    error = np.sqrt(first.var(axis=1, ddof=1) / n + second.var(axis=1, ddof=1) / m)
    difference = first.mean(axis=1) - second.mean(axis=1)
    return np.divide(difference, error, out=np.zeros_like(difference), where=error > 0)


def welch_t_by_labels(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Welch's t of each row under each labelling: float64 [labellings, rows].

    `values` [rows, documents] without NaN, `labels` bool [labellings, documents].
    """
    first = labels.astype(np.float64)
    n, m = first.sum(axis=1)[:, None], (1 - first).sum(axis=1)[:, None]
    # Rows are centred first, so that the second group's sums are what is left of totals known once for all labellings.
    centred = values - values.mean(axis=1, keepdims=True)
    sums, squares = first @ centred.T, first @ (centred**2).T
    other_sums, other_squares = -sums, (centred**2).sum(axis=1) - squares
    variance = (squares - sums**2 / n) / (n - 1) / n + (other_squares - other_sums**2 / m) / (m - 1) / m
    difference = sums / n - other_sums / m
    varies = variance > 1e-24 * (1 + difference**2)
    error = np.sqrt(np.where(varies, variance, 1))
    return np.asarray(np.divide(difference, error, out=np.zeros_like(difference), where=varies))
