"""95% intervals for independent values: Student's t, Wilson's score, the percentile bootstrap.

None of them is for a series whose neighbours are alike: see `autocorrelation`.
"""

from collections.abc import Callable
from typing import NamedTuple, TypedDict

import numpy as np

Z = 1.959963984540054
"""The 97.5% quantile of the standard normal."""
DRAWS = 2000
"""Bootstrap samples and permutations."""


class ValueInterval(TypedDict):
    """A value with the ends of its 95% interval; NaN ends where there is none."""

    value: float
    low: float
    high: float


class MeanInterval(NamedTuple):
    """A mean with its 95% t interval and the two-sided p that it is 0."""

    value: float
    low: float
    high: float
    p: float


def t_quantile(degrees: float) -> float:
    """The 97.5% quantile of Student's t with that many degrees of freedom, which need not be whole."""
    from scipy.special import stdtrit  # here, so that `ontogeny diagnose` starts without scipy

    return float(stdtrit(degrees, 0.975))


def two_sided_p(value: float, error: float, degrees: float) -> float:
    """P of a value with a standard error, by t; without any error 1 if the value is 0, else 0; NaN of what is NaN."""
    from scipy.special import stdtr

    if np.isnan(value) or np.isnan(error):
        return float("nan")
    return float(2 * stdtr(degrees, -abs(value) / error)) if error > 0 else float(value == 0)


def t_interval(values: np.ndarray) -> MeanInterval:
    """Mean of independent values, such as documents or seeds, +- t(n - 1) sd / sqrt(n) (Student 1908).

    `values` float [n], those that are not finite are left out; below two, no interval (NaN). Assumes normal means. Not
    for values of one series, nor for a ratio of sums over documents of unequal length (`estimates.clustered_mean`).
    """
    values = values[np.isfinite(values)]
    n, nan = len(values), float("nan")
    if n < 2:
        return MeanInterval(float(values.mean()) if n else nan, nan, nan, nan)
    value, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))
    half = t_quantile(n - 1) * error
    return MeanInterval(value, value - half, value + half, two_sided_p(value, error, n - 1))


def wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's score interval of a share of n independent items (Wilson 1927); NaN where n is 0.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), with exactly 0 and 1 at shares of 0 and 1. Any
    shape. Items of one document are not independent: then the interval is too narrow.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    low = np.where((share == 0) & (n > 0), 0.0, centre - half)
    return low, np.where((share == 1) & (n > 0), 1.0, centre + half)


def percentile_interval(draws: np.ndarray, axis: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The middle 95% of bootstrap draws (Efron and Tibshirani, "An Introduction to the Bootstrap", 13)."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=axis)
    return low, high


def bootstrap(
    documents: int, statistic: Callable[[np.ndarray], float], random: np.random.Generator, draws: int = DRAWS
) -> tuple[float, float]:
    """Percentile interval of any statistic of resampled documents (it gets their indices, int [documents]).

    NaN draws are left out; NaN if they are more than half. Too narrow below about ten documents.
    """
    drawn = np.array([statistic(random.integers(0, documents, documents)) for _ in range(draws)])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < draws / 2:
        return float("nan"), float("nan")
    low, high = percentile_interval(drawn)
    return float(low), float(high)


def bootstrap_weights(documents: int, random: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Share of each document in each bootstrap sample, float64 [draws, documents]: `values @ weights.T` are means."""
    return random.multinomial(documents, np.full(documents, 1 / documents), draws) / documents
