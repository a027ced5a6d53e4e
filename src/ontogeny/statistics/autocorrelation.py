"""How many independent values a series holds whose neighbours are alike, and what that leaves of a mean or a trend.

Two estimates of the autocorrelation time, with different aims: `largest_time` takes the largest of several and corrects
for what a fit subtracted, so that claims hold (analyses); `geyer_time` is the usual one, close on average and too small
for short series (diagnosis of logs).
"""

from typing import NotRequired, TypedDict

import numpy as np

from ontogeny.statistics.intervals import t_quantile, two_sided_p

LEAST = 12.0
"""Independent stretches, below which nothing is said of a series (rates: docs/statistics.md)."""
NO_SPREAD = 1e-6
"""Nats: differences that single precision makes."""


class SeriesEstimate(TypedDict):
    """A number derived from a series, with its 95% interval, or what it `lacks`."""

    value: float
    low: NotRequired[float]
    high: NotRequired[float]
    p: NotRequired[float]
    """Two-sided, uncorrected."""
    error: NotRequired[float]
    """Standard error."""
    freedom: NotRequired[float]
    """Degrees of freedom."""
    stretches: NotRequired[float]
    """Independent values in the series."""
    lacks: NotRequired[str]
    """What is missing for an interval, ready to print."""


def geyer_time(values: np.ndarray) -> float:
    """Integrated autocorrelation time 1 + 2 sum rho_k of the residuals about a straight line; at least 1.

    Summed while the pair rho_2k + rho_2k+1 is positive (Geyer, "Practical Markov chain Monte Carlo", 1992). 1 below 8
    values. Too small for a series shorter than about 50 times: see `robust.geyer_mean`.
    """
    n = len(values)
    if n < 8:
        return 1.0
    x = np.arange(n)
    rest = values - np.polyval(np.polyfit(x, values, 1), x)
    variance = float(np.dot(rest, rest))
    if variance <= 0:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()  # padded, so that the circular correlation is the plain one
    spectrum = np.fft.rfft(rest, size)
    rho = np.fft.irfft(spectrum * np.conj(spectrum), size)[: n // 2] / variance
    total = -1.0
    for first, second in zip(rho[0::2], rho[1::2], strict=False):
        if first + second <= 0:
            break
        total += 2 * (first + second)
    return max(total, 1.0)


def largest_time(values: np.ndarray, design: np.ndarray) -> float:
    """Autocorrelation time of the residuals of a series [n] about a least-squares fit on `design` [n, q]; at least 1.

    1 + 2 sum of r_k, the factor by which the variance of a mean exceeds that of independent values (Bartlett 1946;
    Sokal 1997, "Monte Carlo methods in statistical mechanics", 2). The largest of these estimates is taken, because
    each is too small more often than too large: that of an AR(1), (1 + r) / (1 - r), with r = r_1 + 2 r_1 / n against
    its bias (Kendall 1954); the sum up to lag 1, 2, 4, ... n / 3 q, if it exceeds 1.96 sqrt(lags / n), as in 2.5% of
    independent series (this finds a slow wave below noise, too).

    Each fitted column lowers the covariance at every lag by s^2 time / n. That is added back, and the time estimated
    again, until nothing changes; infinity if that does not converge below n / q.
    """
    n, q = design.shape
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    spread = float(rest @ rest) / n
    if spread <= 0:
        return 1.0
    covariance = np.correlate(rest, rest, "full")[n - 1 : n - 1 + max(n // 2, 2)]
    raw = covariance / (n - np.arange(len(covariance))) / spread
    time = 1.0
    for _ in range(200):
        subtracted = q * time / n
        if subtracted >= 1:
            return float("inf")
        back = subtracted / (1 - subtracted)
        longer = _largest_of_estimates((raw[1:] + back) / (1 + back), n, q)
        if longer <= time + 1e-6 * n:
            return time
        time = longer
    return time


def _largest_of_estimates(r: np.ndarray, n: int, q: int) -> float:
    """The time, from correlations at lags 1, 2, ..."""
    lags = 2 ** np.arange(int(np.log2(max(n / 3 / q, 1))) + 1)
    sums = np.cumsum(r)[lags[lags <= len(r)] - 1]
    summed = 1 + 2 * float(np.max(sums, initial=0.0, where=sums > 1.96 * np.sqrt(lags[: len(sums)] / n)))
    first = float(r[0]) * (1 + 2 / n)
    return max(1.0, summed, (1 + first) / (1 - first) if first < 1 else float("inf"))


def independent_stretches(values: np.ndarray, design: np.ndarray) -> float:
    """Independent values that a series [n] holds beside a fit on `design` [n, q]: n over the autocorrelation time."""
    return len(values) / largest_time(values, design)


def lacks(stretches: float) -> str:
    """What a series of that many independent stretches is short of; empty if nothing."""
    if stretches >= LEAST:
        return ""
    count = about(stretches)
    return f"{LEAST:.0f} independent stretches: neighbours are so alike that there {_is(count)}; record more steps"


def about(stretches: float) -> str:
    """How many independent stretches, rounded down, ready to print: about 11, less than 1."""
    return f"about {int(stretches)}" if stretches >= 1 else "less than 1"


def _is(count: str) -> str:
    return f"is {count}" if count.endswith(" 1") else f"are {count}"


def contrasts_of_fit(values: np.ndarray, design: np.ndarray, contrasts: np.ndarray) -> list[SeriesEstimate]:
    """Each contrast (row of [c, q]) of the coefficients of a least-squares fit of a series [n] on `design` [n, q].

    As with independent values, but with the number m of independent stretches in place of n: the variance is (sum of
    squares / n) m / (m - q) over a share m / n of (X'X), interval and p are by t with m - q degrees of freedom
    (effective sample size: Bayley and Hammersley 1946). With too few stretches, or if nothing differs, an estimate has
    only its `value` and what it `lacks`.
    """
    q = design.shape[1]
    beta = np.linalg.lstsq(design, values, rcond=None)[0]
    value = contrasts @ beta
    stretches = independent_stretches(values, design)
    lack = "any difference between the values" if np.ptp(values) <= NO_SPREAD else lacks(stretches)
    if lack:
        return [{"value": float(contrast), "lacks": lack, "stretches": stretches} for contrast in value]
    rest = values - design @ beta
    degrees = stretches - q
    spread = float(rest @ rest) / degrees
    inverse = np.linalg.inv(design.T @ design)
    variance = spread * np.einsum("ci,ij,cj->c", contrasts, inverse, contrasts)
    errors = np.sqrt(np.maximum(variance, 1e-24))  # a perfect fit has an error of rounding, not of 0
    return [_by_t(float(v), float(error), degrees, stretches) for v, error in zip(value, errors, strict=True)]


def _by_t(value: float, error: float, degrees: float, stretches: float) -> SeriesEstimate:
    half = t_quantile(degrees) * error
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "p": two_sided_p(value, error, degrees),
        "error": error,
        "freedom": degrees,
        "stretches": stretches,
    }


def line_design(count: int) -> np.ndarray:
    """A level and a straight line with mean 0: float64 [count, 2]."""
    return np.stack([np.ones(count), np.arange(count) - (count - 1) / 2], axis=1)


def detrended_mean(values: np.ndarray) -> SeriesEstimate:
    """Mean of a series [n], its interval from the residuals about a straight line, as `contrasts_of_fit`.

    Equal values have an interval of width 0. A steady trend is no noise here; use it for "where does the level lie",
    not for "does it change". Independent values: `intervals.t_interval`, which needs fewer.
    """
    if np.ptp(values) <= NO_SPREAD:
        value, n = float(values.mean()), float(len(values))
        exact: SeriesEstimate = {"value": value, "low": value, "high": value, "p": float(abs(value) <= NO_SPREAD)}
        return exact | {"error": 0.0, "freedom": n - 1.0, "stretches": n}
    return contrasts_of_fit(values, line_design(len(values)), np.array([[1.0, 0.0]]))[0]


def welch_difference(first: SeriesEstimate, second: SeriesEstimate) -> SeriesEstimate:
    """`first` minus `second`, of two independent series, by Welch's t (degrees of freedom: Satterthwaite 1946)."""
    value = first["value"] - second["value"]
    for estimate in (first, second):
        if "lacks" in estimate:
            return {"value": value, "lacks": estimate["lacks"]}
    squares = first["error"] ** 2, second["error"] ** 2
    error = float(np.sqrt(max(sum(squares), 1e-24)))
    below = squares[0] ** 2 / first["freedom"] + squares[1] ** 2 / second["freedom"]
    degrees = error**4 / below if below > 0 else min(first["freedom"], second["freedom"])
    half = t_quantile(degrees) * error
    difference: SeriesEstimate = {"value": value, "low": value - half, "high": value + half, "error": error}
    return difference | {"freedom": degrees, "p": two_sided_p(value, error, degrees)}


def block_length(count: int, stretches: float) -> int:
    """Twice the autocorrelation time, less one, for `count` values that hold so many stretches: 1 if independent."""
    return int(np.clip(np.ceil(round(2 * count / max(stretches, 1.0) - 1, 9)), 1, max(count // 2, 1)))


def block_weights(count: int, length: int, random: np.random.Generator, draws: int) -> np.ndarray:
    """How often each of `count` values is in each bootstrap sample of blocks of neighbours: float64 [draws, count].

    The series is closed to a circle, so that all values are drawn alike often (Politis and Romano 1992).
    """
    starts = random.integers(0, count, (draws, -(-count // length)))
    index = ((starts[..., None] + np.arange(length)) % count).reshape(draws, -1)[:, :count]
    offset = index + np.arange(draws)[:, None] * count
    return np.bincount(offset.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)
