"""Laws of one number against size, steps or shares: power laws, shifted ones, and what they predict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.core.analyses import LEAST_SEEDS
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import t_interval, t_quantile

LEAST_SHIFTED = 6
"""Distinct x below which a law with a floor is not fitted: its three parameters fit almost any few points."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """y = c x^k, or y = E + c x^-k. Intervals are 95% t intervals over the fits of single seeds."""

    x: tuple[float, ...]
    seeds: int
    k: float
    k_low: float
    k_high: float
    k_p: float
    """That k is 0, by the same t; uncorrected."""
    c: float
    """Of the mean of log c over seeds (of c, where there is a floor)."""
    floor: float
    """E; 0 for a power law."""
    floor_low: float
    floor_high: float
    misfit_p: float
    """Lack of fit, F: that the means deviate from a power law no more than seeds vary. NaN below three x or two seeds,
    or where each seed has its own x."""
    fits: np.ndarray
    """float [seeds, 2]: log c and k of each seed; of a power law alone."""
    scatter: float
    """Standard deviation over seeds of log y at one x, pooled."""

    @property
    def claims(self) -> bool:
        """Are there enough seeds to claim anything?"""
        return self.seeds >= LEAST_SEEDS


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The geometric mean over some seeds, predicted at an x that was not run."""

    x: float
    value: float
    low: float
    high: float
    """95% prediction interval, provided that the law holds up to that x."""


def power_law(x: Sequence[float] | np.ndarray, y: np.ndarray) -> Law | str:
    """log y = log c + k log x by least squares, for each seed; `y` float [x, seeds]. Or why there is none.

    `x` [x], or [x, seeds] where x was measured, too: each seed is then fitted at its own x, since the noise of an x
    shared by all fits would be in no interval. The interval of k is that of the mean over the seeds' k. With two x the
    law goes through both points and cannot fail; from three common x on `misfit_p` says whether it does.
    """
    if not len(x):
        return _lack([], y, 2)
    own = np.broadcast_to(np.asarray(x, dtype=np.float64).reshape(len(x), -1), y.shape)
    common = np.ndim(x) == 1
    means = [float(mean) for mean in own.mean(axis=1)] if y.size else []
    lack = _lack(means, y, 2) or ("" if (own > 0).all() else "x holds values that are not positive")
    if lack:
        return lack
    logs, at = np.log(y), np.log(own)
    centred = at - at.mean(axis=0)
    k = (centred * logs).sum(axis=0) / (centred**2).sum(axis=0)
    fits = np.stack([logs.mean(axis=0) - k * at.mean(axis=0), k], axis=1)
    value, low, high, p = t_interval(k)
    n, seeds = y.shape
    spread = float(((logs - logs.mean(axis=1, keepdims=True)) ** 2).sum())
    scatter = float(np.sqrt(spread / (n * (seeds - 1)))) if seeds > 1 else float("nan")
    return Law(
        x=tuple(means),
        seeds=seeds,
        k=value,
        k_low=low,
        k_high=high,
        k_p=p,
        c=float(np.exp(fits[:, 0].mean())),
        floor=0.0,
        floor_low=0.0,
        floor_high=0.0,
        misfit_p=_misfit(at[:, 0], logs, spread) if common else float("nan"),
        fits=fits,
        scatter=scatter,
    )


def shifted_law(x: Sequence[float], y: np.ndarray) -> Law | str:
    """y = E + c x^-k by least squares with c >= 0, for each seed; `y` float [x, seeds]. Or why there is none."""
    lack = _lack(x, y, LEAST_SHIFTED)
    if lack:
        return lack
    at = np.array(x, dtype=np.float64) / np.exp(np.mean(np.log(x)))
    fits = np.array([_with_floor(at, values) for values in y.T])
    scale = float(np.exp(np.mean(np.log(x))))
    k, k_low, k_high, k_p = t_interval(fits[:, 2])
    floor, floor_low, floor_high, _ = t_interval(fits[:, 0])
    c = float((fits[:, 1] * scale ** fits[:, 2]).mean())
    return Law(
        x=tuple(x),
        seeds=y.shape[1],
        k=k,
        k_low=k_low,
        k_high=k_high,
        k_p=k_p,
        c=c,
        floor=floor,
        floor_low=floor_low,
        floor_high=floor_high,
        misfit_p=float("nan"),
        fits=np.zeros((0, 2)),
        scatter=float("nan"),
    )


def predict(law: Law, x: float, seeds: int) -> Prediction:
    """The mean of log y over that many new seeds at another x, as a power law predicts it.

    t interval with the error of the seeds' predictions, sd / sqrt(n), and that of the new mean, scatter / sqrt(m),
    added in squares; n - 1 degrees of freedom. Raises ValueError below two seeds.
    """
    if law.seeds < 2:
        raise ValueError("a prediction has no interval with fewer than two seeds")
    each = law.fits[:, 0] + law.fits[:, 1] * np.log(x)
    error = np.sqrt(each.var(ddof=1) / law.seeds + law.scatter**2 / seeds)
    half = t_quantile(law.seeds - 1) * error
    value = each.mean()
    return Prediction(
        x=x, value=float(np.exp(value)), low=float(np.exp(value - half)), high=float(np.exp(value + half))
    )


def _lack(x: Sequence[float], y: np.ndarray, least: int) -> str:
    """Why nothing is fitted; empty if something is."""
    if len(set(x)) < least:
        return f"needs {shortage(least, 'different value', len(set(x)), 'run at more', 'of x')}"
    if not y.size:
        return "needs a seed that has a value at every x: run the missing ones"
    if min(x) <= 0:
        return "x holds values that are not positive, which have no logarithm"
    if not (y > 0).all():
        return f"{int((~(y > 0)).sum())} of {y.size} values are not positive, which have no logarithm"
    return ""


def _misfit(at: np.ndarray, logs: np.ndarray, spread: float) -> float:
    from scipy import stats

    n, seeds = logs.shape
    if n < 3 or seeds < 2 or spread == 0:
        return float("nan")
    means = logs.mean(axis=1)
    left = means - np.polyval(np.polyfit(at, means, 1), at)
    f = seeds * float(left @ left) / (n - 2) / (spread / (n * (seeds - 1)))
    return float(stats.f.sf(f, n - 2, n * (seeds - 1)))


def _with_floor(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """E, c, k of one seed: E and c by least squares for each k, k by a bounded search."""
    from scipy import optimize

    def at(log_k: float) -> tuple[float, float, float]:
        column = x ** -np.exp(log_k)
        (c, floor), *_ = np.linalg.lstsq(np.stack([column, np.ones_like(column)], axis=1), y, rcond=None)
        c, floor = (float(c), float(floor)) if c >= 0 else (0.0, float(y.mean()))
        return floor, c, float(((y - floor - c * column) ** 2).sum())

    grid = np.log(np.geomspace(0.02, 5, 40))
    best = int(np.argmin([at(value)[2] for value in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    log_k = optimize.minimize_scalar(lambda value: at(value)[2], bounds=bounds, method="bounded").x
    floor, c, _ = at(log_k)
    return floor, c, float(np.exp(log_k))
