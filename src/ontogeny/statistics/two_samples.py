"""Differences between two groups of documents, such as trained and novel ones, which may vary to different degrees."""

from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.intervals import ValueInterval, t_quantile, two_sided_p


@dataclass(frozen=True, kw_only=True)
class GroupDifference:
    """A difference of means between two groups of documents."""

    value: float
    low: float
    high: float
    """95% interval by Welch's t."""
    t: float
    p: float
    """Welch's t and its two-sided p, over documents, uncorrected."""
    r: float
    """Point-biserial correlation of group and value over documents."""
    n: tuple[int, int]
    """Documents in each group."""


def group_difference(first: np.ndarray, second: np.ndarray) -> GroupDifference:
    """Mean of `first` minus mean of `second`, float [documents] each, which may vary to different degrees.

    t = difference / sqrt(a + b) with a = var / n and b = var / m; its degrees of freedom (a + b)^2 / (a^2 / (n - 1) +
    b^2 / (m - 1)) (Welch 1947). NaN is left out; with fewer than two documents in a group everything is NaN. Not for
    the same documents before and after: those are paired.
    """
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    sizes = (len(first), len(second))
    if min(sizes) < 2:
        nan = float("nan")
        return GroupDifference(value=nan, low=nan, high=nan, t=nan, p=nan, r=nan, n=sizes)
    both = np.concatenate([first, second])
    label = np.repeat([True, False], sizes)
    value = float(first.mean() - second.mean())
    t, degrees = (float(part[0, 0]) for part in welch_by_labels(both[None], label[None]))
    error = value / t if t else float(np.sqrt(first.var(ddof=1) / sizes[0] + second.var(ddof=1) / sizes[1]))
    half = t_quantile(degrees) * error
    r = float(np.corrcoef(label, both)[0, 1]) if both.std() > 0 else float("nan")
    p = two_sided_p(value, error, degrees)
    return GroupDifference(value=value, low=value - half, high=value + half, t=t, p=p, r=r, n=sizes)


def ratio_of_differences(first: np.ndarray, second: np.ndarray) -> ValueInterval:
    """Ratio of two differences between two groups of documents, with Fieller's 95% interval; NaN without one.

    `first` and `second` float [2, documents] without NaN: of each document, what is above the line and what is below,
    which may go together. The interval holds the ratios r for which the difference of `above - r below` between the
    groups is not significant by Welch's t (Fieller 1954; degrees of freedom: the fewer of Satterthwaite's for that
    difference at the ratio, and for `below`). NaN ends unless `below` differs significantly. A percentile bootstrap
    would be too narrow for few documents.
    """
    above, below = (float(mean) for mean in first.mean(axis=1) - second.mean(axis=1))
    nan, sizes = float("nan"), (first.shape[1], second.shape[1])
    if below == 0 or min(sizes) < 2:
        return {"value": above / below if below else nan, "low": nan, "high": nan}
    covariances = [np.cov(group) / n for group, n in zip((first, second), sizes, strict=True)]
    degrees = min(
        _satterthwaite([float(row @ covariance @ row) for covariance in covariances], sizes)
        for row in (np.array([1, -above / below]), np.array([0.0, 1]))
    )
    (aa, ab), (_, bb) = (covariances[0] + covariances[1]) * t_quantile(degrees) ** 2
    lead = below**2 - bb
    if not lead > 0:
        return {"value": above / below, "low": nan, "high": nan}
    middle = (above * below - ab) / lead
    half = np.sqrt(max(middle**2 - (above**2 - aa) / lead, 0.0))
    return {"value": above / below, "low": float(middle - half), "high": float(middle + half)}


def _satterthwaite(squares: list[float], sizes: tuple[int, int]) -> float:
    """Degrees of freedom of a difference, from the squared standard errors of two means."""
    parts = sum(square**2 / (n - 1) for square, n in zip(squares, sizes, strict=True))
    return sum(squares) ** 2 / parts if parts > 0 else float(sum(sizes) - 2)


def _welch(
    sums: tuple[np.ndarray, np.ndarray], squares: tuple[np.ndarray, np.ndarray], sizes: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Welch's t and its degrees of freedom, from each group's sums, sums of squares and numbers; t 0 without spread."""
    (n, m), (sum_n, sum_m) = sizes, sums
    a = np.maximum(squares[0] - sum_n**2 / n, 0) / (n - 1) / n
    b = np.maximum(squares[1] - sum_m**2 / m, 0) / (m - 1) / m
    difference = sum_n / n - sum_m / m
    varies = a + b > 1e-24 * (1 + difference**2)
    variance = np.where(varies, a + b, 1)
    t = np.where(varies, difference / np.sqrt(variance), 0.0)
    degrees = variance**2 / np.where(varies, a**2 / (n - 1) + b**2 / (m - 1), variance**2)
    return t, degrees


def welch_by_labels(values: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Welch's t of each row under each labelling, and its degrees of freedom: float64 [labellings, rows] each.

    `values` [rows, documents] without NaN, `labels` bool [labellings, documents]. t is 0 where nothing varies.
    """
    first = labels.astype(np.float64)
    n, m = first.sum(axis=1)[:, None], (1 - first).sum(axis=1)[:, None]
    # Rows are centred first, so that the second group's sums are what is left of totals known once for all labellings.
    centred = values - values.mean(axis=1, keepdims=True)
    sums, squares = first @ centred.T, first @ (centred**2).T
    return _welch((sums, -sums), (squares, (centred**2).sum(axis=1) - squares), (n, m))


def welch_p_by_labels(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Two-sided p of Welch's t of each row under each labelling: float64 [labellings, rows]; 1 where nothing varies."""
    return _p(*welch_by_labels(values, labels))


def welch_p_by_signs(values: np.ndarray, label: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """The same of the deviations from the mean of their own group, with signs: float64 [draws, rows].

    `values` [rows, documents], `label` bool [documents], `signs` of 1 and -1 [draws, documents]: draws without a
    difference, in which each group varies as it does.
    """
    sums, squares, sizes = [], [], []
    for inside in (label, ~label):
        group = values[:, inside]
        deviations = group - group.mean(axis=1, keepdims=True)
        sums.append(signs[:, inside] @ deviations.T)
        squares.append(np.square(deviations).sum(axis=1))
        sizes.append(np.array(inside.sum()))
    return _p(*_welch((sums[0], sums[1]), (squares[0], squares[1]), (sizes[0], sizes[1])))


def _p(t: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(degrees, -np.abs(t)))
