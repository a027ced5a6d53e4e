"""Do two things go together: along one run, where neighbours in time are alike, and over independent runs?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np

from ontogeny.statistics import autocorrelation
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import t_quantile, two_sided_p

LEAST_INTERVALS = 32
"""Between checkpoints: with fewer, shifts claim too much where neighbours are alike (docs/statistics.md)."""
LEAST_RUNS = 5


class AlongRun(TypedDict):
    """Correlations of R curves with another one along a run, or what it `lacks`."""

    assessable: bool
    lacks: NotRequired[str]
    r: NotRequired[np.ndarray]
    """float64 [R]: Pearson's, of detrended rates of change."""
    p: NotRequired[list[float]]
    """[R]: corrected over the rows."""
    raw: NotRequired[np.ndarray]
    """float64 [R]: r with the trend left in."""
    n: NotRequired[int]
    """Intervals between checkpoints."""


def correlation_along_run(step: np.ndarray, curves: np.ndarray, other: np.ndarray) -> AlongRun:
    """Correlation of the rates at which rows of `curves` [R, C] and `other` [C] change between checkpoints.

    Both are differenced and divided by the steps between, and a parabola in the log of the step is subtracted from
    each, because two curves that both rise fast at first go together whatever they are. `p` compares |r| with the
    largest |r| over the rows under every circular shift of one series against the others. That holds for series whose
    neighbours are alike if enough shifts differ: n (1 - c) / (1 + c) of them, c the product of the two series'
    correlations r of neighbours (Bartlett 1935), averaged over the rows, must be at least `autocorrelation.LEAST`. The
    bias of r due to the q columns of the trend is corrected by adding (q + (q + 2) r) / n (Kendall 1954, for q = 1).
    """
    n = len(step) - 1
    if n < LEAST_INTERVALS:
        return {
            "assessable": False,
            "lacks": shortage(LEAST_INTERVALS + 1, "common checkpoint", n + 1, "measure both more often"),
        }
    rates = np.diff(np.vstack([curves, other]), axis=1) / np.diff(step)
    if (np.ptp(rates, axis=1) == 0).any():
        return {"assessable": False, "lacks": "any change of one of the two between checkpoints"}
    time = np.log1p((step[1:] + step[:-1]) / 2)
    trend = np.stack([np.ones(n), time, time**2], axis=1)
    detrended = rates - (trend @ np.linalg.lstsq(trend, rates.T, rcond=None)[0]).T
    stretches = _independent_pairs(detrended, trend)
    if lack := autocorrelation.lacks(stretches):
        return {"assessable": False, "lacks": lack}
    shifted = np.stack([np.roll(detrended[-1], shift) for shift in range(n)])
    r = _pearson(detrended[:-1], shifted)
    largest = np.abs(r).max(axis=0)
    p = [float((largest >= abs(unshifted) - 1e-12).mean()) for unshifted in r[:, 0]]
    return {"assessable": True, "r": r[:, 0], "p": p, "raw": _pearson(rates[:-1], rates[-1:])[:, 0], "n": n}


def _independent_pairs(detrended: np.ndarray, trend: np.ndarray) -> float:
    """Independent pairs of the last series with each of the others, on average over them."""
    n, q = trend.shape
    r = np.sum(detrended[:, 1:] * detrended[:, :-1], axis=1) / np.square(detrended).sum(axis=1)
    unbiased = np.clip(r + (q + (q + 2) * r) / n, 0, 1)
    c = float(unbiased[-1] * unbiased[:-1].mean())
    return n * (1 - c) / (1 + c)


def _pearson(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Pearson's r of each row with each other row: [rows, others]."""
    a, b = (values - values.mean(axis=1, keepdims=True) for values in (rows, others))
    return np.asarray(a @ b.T / np.sqrt(np.outer(np.square(a).sum(axis=1), np.square(b).sum(axis=1))))


@dataclass(frozen=True, kw_only=True)
class CorrelationOverRuns:
    """Pearson's r over independent runs, with Fisher's interval; NaN below five runs."""

    n: int
    """Runs whose two numbers are numbers."""
    left_out: int
    """The others."""
    r: float
    low: float
    high: float


def correlation_over_runs(x: Sequence[float], y: Sequence[float]) -> CorrelationOverRuns:
    """One pair of numbers per run: tanh(atanh r +- 1.96 / sqrt(n - 3)) (Fisher 1921).

    Assumes independent runs and roughly normal numbers; pairs that are not finite are left out and counted.
    """
    pairs, nan = np.array([x, y], dtype=np.float64), float("nan")
    finite = np.isfinite(pairs).all(axis=0)
    x, y = pairs[:, finite]
    n, left_out = len(x), int((~finite).sum())
    if n < LEAST_RUNS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return CorrelationOverRuns(n=n, left_out=left_out, r=nan, low=nan, high=nan)
    r = float(np.corrcoef(x, y)[0, 1])
    z, half = _fisher_z(r), 1.959964 / np.sqrt(n - 3)
    low, high = np.tanh([z - half, z + half])
    return CorrelationOverRuns(n=n, left_out=left_out, r=r, low=float(low), high=float(high))


def _fisher_z(r: float) -> float:
    return float(np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)))


class ArmsCompared(TypedDict):
    """The correlation in each arm of runs; of two arms, also whether they differ."""

    arms: dict[str, CorrelationOverRuns]
    points: dict[str, Sequence[tuple[float, float]]]
    z: NotRequired[float]
    p: NotRequired[float]


def compare_arms(points: Mapping[str, Sequence[tuple[float, float]]]) -> ArmsCompared:
    """r of each arm's points (x, y), one per run; of two arms, also p that their correlations are equal.

    z = (atanh r1 - atanh r2) / sqrt(1 / (n1 - 3) + 1 / (n2 - 3)) (Fisher 1921).
    """
    from scipy.stats import norm

    arms = {
        name: correlation_over_runs(*zip(*pairs, strict=True)) if pairs else correlation_over_runs((), ())
        for name, pairs in points.items()
    }
    compared: ArmsCompared = {"arms": arms, "points": dict(points)}
    if len(arms) == 2 and all(np.isfinite(arm.r) for arm in arms.values()):
        first, second = arms.values()
        error = np.sqrt(1 / (first.n - 3) + 1 / (second.n - 3))
        z = float((_fisher_z(first.r) - _fisher_z(second.r)) / error)
        compared |= {"z": z, "p": float(2 * norm.sf(abs(z)))}
    return compared


def rank_correlation_of_series(
    values: np.ndarray, place: np.ndarray, given: np.ndarray | None = None
) -> "autocorrelation.SeriesEstimate":
    """Spearman's correlation of values and their place in an order, the ranks of `given` held fixed; float [n] each.

    Neighbours along `place` share what happened to them. So p is by t, and the interval by Bonett and Wright (2000),
    with n the number of independent stretches that the ranks of the values hold once the line on place is subtracted
    (`autocorrelation.independent_stretches`; the effective sample size of Pyper and Peterman 1998). With too few of
    them the estimate says what it `lacks`.
    """
    from scipy.stats import rankdata

    if np.ptp(place) == 0:
        return {"value": float("nan"), "lacks": "different places"}
    if np.ptp(values) <= autocorrelation.NO_SPREAD:
        return {"value": float("nan"), "lacks": "any difference between the values"}
    order = np.argsort(place, kind="stable")
    value_ranks, place_ranks = rankdata(values[order]), rankdata(place[order])
    given_ranks = None if given is None else rankdata(given[order])
    y, x = _without_line(value_ranks, given_ranks), _without_line(place_ranks, given_ranks)
    r = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-12, 1 - 1e-12))
    columns = [np.ones(len(values)), place_ranks] + ([] if given_ranks is None else [given_ranks])
    stretches = autocorrelation.independent_stretches(value_ranks, np.stack(columns, axis=1))
    if lack := autocorrelation.lacks(stretches):
        return {"value": r, "lacks": lack, "stretches": stretches}
    degrees = stretches - len(columns)
    half = t_quantile(degrees) * np.sqrt((1 + r**2 / 2) / (degrees - 1))
    low, high = np.tanh(np.arctanh(r) + np.array([-half, half]))
    p = two_sided_p(r * np.sqrt(degrees / (1 - r**2)), 1.0, degrees)
    return {"value": r, "low": float(low), "high": float(high), "p": p, "stretches": stretches}


def _without_line(ranks: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """Residuals of a straight line on the other ranks."""
    if given is None:
        return ranks
    slope, intercept = np.polyfit(given, ranks, 1)
    return np.asarray(ranks - slope * given - intercept)
