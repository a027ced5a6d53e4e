"""Statistics that analyses share: by document, corrected over families, on uneven grids of checkpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
"""Bootstrap samples and permutations."""


@dataclass(frozen=True, kw_only=True)
class Effect:
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


def by_document(values: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Means over the passages of each document: [..., passages] -> [..., documents], in order of the document's id.

    NaN passages are left out; a document without any other is NaN.
    """
    _, place = np.unique(document, return_inverse=True)
    count = place.max() + 1 if len(place) else 0
    known = np.isfinite(values)
    total = np.zeros((*values.shape[:-1], count))
    n = np.zeros_like(total)
    for i in range(count):
        mine = place == i
        total[..., i] = np.where(known[..., mine], values[..., mine], 0).sum(axis=-1)
        n[..., i] = known[..., mine].sum(axis=-1)
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def effect(one: np.ndarray, other: np.ndarray, random: np.random.Generator) -> Effect:
    """Mean of `one` minus mean of `other`, float [documents] each; NaN is left out, fewer than two give NaN."""
    from scipy import stats

    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    sizes = (len(one), len(other))
    if min(sizes) < 2:
        nan = float("nan")
        return Effect(value=nan, low=nan, high=nan, t=nan, p=nan, r=nan, n=sizes)
    value = float(one.mean() - other.mean())
    low, high = np.quantile(_resampled(one, random) - _resampled(other, random), [0.025, 0.975])
    t, p = float(welch(one[None], other[None])[0]), float(stats.ttest_ind(one, other, equal_var=False).pvalue)
    both = np.concatenate([one, other])
    label = np.repeat([1.0, 0.0], sizes)
    r = float(np.corrcoef(label, both)[0, 1]) if both.std() > 0 else float("nan")
    return Effect(value=value, low=float(low), high=float(high), t=t, p=p, r=r, n=sizes)


def _resampled(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Means of bootstrap samples."""
    return np.asarray(values[random.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1))


def welch(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Welch's t of each row, [rows, documents]; 0 where both groups are constant and equal."""
    n, m = one.shape[1], other.shape[1]
    error = np.sqrt(one.var(axis=1, ddof=1) / n + other.var(axis=1, ddof=1) / m)
    apart = one.mean(axis=1) - other.mean(axis=1)
    found: np.ndarray = np.divide(apart, error, out=np.zeros_like(apart), where=error > 0)
    return found


def max_t(values: np.ndarray, label: np.ndarray, random: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Corrected p of each row's difference between labels, by permuting the labels (Westfall and Young 1993).

    `values` [rows, documents] without NaN, `label` bool [documents]. Each permutation's largest |t| over all rows is
    what an observed |t| must exceed; p = (1 + how many do) / (1 + draws). Valid where labels were assigned at random.
    """
    observed = np.abs(_t_of(values, label[None])[0])
    largest = np.empty(draws)
    for start in range(0, draws, 200):
        labels = np.array([random.permutation(label) for _ in range(min(200, draws - start))])
        largest[start : start + len(labels)] = np.abs(_t_of(values, labels)).max(axis=1)
    found: np.ndarray = (1 + (largest[None] >= observed[:, None] - 1e-12).sum(axis=1)) / (1 + draws)
    return found


def _t_of(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Welch's t for each labelling and row: [labellings, rows]."""
    one = labels.astype(np.float64)
    n, m = one.sum(axis=1)[:, None], (1 - one).sum(axis=1)[:, None]
    centred = values - values.mean(axis=1, keepdims=True)
    sums, squares = one @ centred.T, one @ (centred**2).T
    rest, rest_squares = -sums, (centred**2).sum(axis=1) - squares
    variance = (squares - sums**2 / n) / (n - 1) / n + (rest_squares - rest**2 / m) / (m - 1) / m
    apart = sums / n - rest / m
    safe = variance > 1e-24 * (1 + apart**2)
    return np.asarray(np.divide(apart, np.sqrt(np.where(safe, variance, 1)), out=np.zeros_like(apart), where=safe))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values (Benjamini and Hochberg 1995), in the order given; NaN stays and is not counted."""
    found = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    m = len(order)
    if m:
        scaled = p[order] * m / np.arange(1, m + 1)
        found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return found


def mean_interval(values: np.ndarray) -> tuple[float, float, float, float]:
    """Mean over documents with a 95% t interval, and the two-sided p that it is 0; NaN below two values."""
    from scipy import stats

    values = values[np.isfinite(values)]
    if len(values) < 2:
        nan = float("nan")
        return (float(values.mean()) if len(values) else nan), nan, nan, nan
    value, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    p = float(2 * stats.t.sf(abs(value) / error, len(values) - 1)) if error > 0 else float(value == 0)
    return value, value - half, value + half, p


def bootstrap(
    documents: int, statistic: Callable[[np.ndarray], float], random: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float]:
    """95% percentile interval of a statistic of resampled documents (it gets their indices); NaN draws are left out."""
    found = np.array([statistic(random.integers(0, documents, documents)) for _ in range(draws)])
    found = found[np.isfinite(found)]
    if len(found) < draws / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def halves(groups: Sequence[np.ndarray], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of the documents, each group cut in half: one to choose on, one to report on."""
    first, second = [], []
    for group in groups:
        shuffled = random.permutation(group)
        middle = (len(shuffled) + 1) // 2
        first.append(shuffled[:middle])
        second.append(shuffled[middle:])
    return np.concatenate(first), np.concatenate(second)
