"""How many independent values a series holds whose neighbours are alike, and what that leaves of a mean or a trend."""

from typing import Any

import numpy as np

LEAST = 12.0
"""Independent stretches, below which nothing is said of a series (rates: docs/statistics.md)."""
NO_SPREAD = 1e-6
"""Nats: differences that single precision makes."""


def time_of(values: np.ndarray, design: np.ndarray) -> float:
    """Autocorrelation time of what a least-squares fit on `design` [n, q] leaves of a series [n], at least 1.

    1 + 2 sum of r_k, the factor by which the variance of a mean exceeds that of independent values (Bartlett 1946;
    Sokal 1997, "Monte Carlo methods in statistical mechanics", 2). The largest of these estimates is taken, because
    each of them is too small more often than too large: that of an AR(1), (1 + r) / (1 - r), with r = r_1 + 2 r_1 / n
    against its bias (Kendall 1954); the sum up to lag 1, 2, 4, ... n / 3 q, if it is above 1.96 sqrt(lags / n), as in
    2.5% of independent series (which finds a slow wave below noise, too).

    What the fit took is given back: each column takes a variance of s^2 time / n off every lag, so that is added, and
    the times are found again, until nothing changes; infinity where that does not end below n / q.
    """
    n, q = design.shape
    rest = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    spread = float(rest @ rest) / n
    if spread <= 0:
        return 1.0
    covariance = np.correlate(rest, rest, "full")[n - 1 : n - 1 + max(n // 2, 2)]
    raw = covariance / (n - np.arange(len(covariance))) / spread
    found = 1.0
    for _ in range(200):
        taken = q * found / n
        if taken >= 1:
            return float("inf")
        back = taken / (1 - taken)
        again = _time((raw[1:] + back) / (1 + back), n, q)
        if again <= found + 1e-6 * n:
            return found
        found = again
    return found


def _time(r: np.ndarray, n: int, q: int) -> float:
    """Of correlations at lags 1, 2, ..."""
    lags = 2 ** np.arange(int(np.log2(max(n / 3 / q, 1))) + 1)
    sums = np.cumsum(r)[lags[lags <= len(r)] - 1]
    summed = 1 + 2 * float(np.max(sums, initial=0.0, where=sums > 1.96 * np.sqrt(lags[: len(sums)] / n)))
    first = float(r[0]) * (1 + 2 / n)
    return max(1.0, summed, (1 + first) / (1 - first) if first < 1 else float("inf"))


def stretches(values: np.ndarray, design: np.ndarray) -> float:
    """Independent values: their number over the autocorrelation time."""
    return len(values) / time_of(values, design)


def lacks(count: float) -> str:
    """What a series of that many independent stretches is short of; empty if nothing."""
    return "" if count >= LEAST else f"{LEAST:.0f} independent stretches, it has about {count:.1f}"


def fitted(values: np.ndarray, design: np.ndarray, contrasts: np.ndarray) -> list[dict[str, Any]]:
    """Each contrast [c, q] of a least-squares fit of a series on `design`: `value`, `low`, `high`, `p`, `stretches`.

    As with independent values, but with as many of them as there are independent stretches m: the variance is
    (sum of squares / n) m / (m - q) over a share m / n of (X'X), the interval and p are by t with m - q degrees of
    freedom (effective sample size: Bayley and Hammersley 1946). Without enough stretches, or where nothing differs,
    `value` and what it `lacks`.
    """
    from scipy.stats import t

    q = design.shape[1]
    beta = np.linalg.lstsq(design, values, rcond=None)[0]
    value = contrasts @ beta
    count = stretches(values, design)
    lack = "any difference between the values" if np.ptp(values) <= NO_SPREAD else lacks(count)
    if lack:
        return [{"value": float(one), "lacks": lack, "stretches": count} for one in value]
    rest = values - design @ beta
    spread = float(rest @ rest) / (count - q)
    inverse = np.linalg.inv(design.T @ design)
    error = np.sqrt(np.maximum(spread * np.einsum("ci,ij,cj->c", contrasts, inverse, contrasts), 1e-24))
    half = float(t.ppf(0.975, count - q)) * error
    p = 2 * t.sf(np.abs(value) / error, count - q)
    return [
        {
            "value": float(value[i]),
            "low": float(value[i] - half[i]),
            "high": float(value[i] + half[i]),
            "p": float(p[i]),
            "error": float(error[i]),
            "freedom": count - q,
            "stretches": count,
        }
        for i in range(len(value))
    ]


def line(count: int) -> np.ndarray:
    """A level and a straight line without mean: float64 [count, 2]."""
    return np.stack([np.ones(count), np.arange(count) - (count - 1) / 2], axis=1)


def mean(values: np.ndarray) -> dict[str, Any]:
    """Of a series, as `fitted`, a straight line along it taken off; equal values have an interval without width."""
    if np.ptp(values) <= NO_SPREAD:
        value = float(values.mean())
        return {
            "value": value,
            "low": value,
            "high": value,
            "p": float(abs(value) <= NO_SPREAD),
            "error": 0.0,
            "freedom": len(values) - 1.0,
            "stretches": float(len(values)),
        }
    return fitted(values, line(len(values)), np.array([[1.0, 0.0]]))[0]


def apart(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Difference of two independent means, by Welch's t."""
    from scipy.stats import t

    value = one["value"] - other["value"]
    for each in (one, other):
        if "lacks" in each:
            return {"value": value, "lacks": each["lacks"]}
    squares = [each["error"] ** 2 for each in (one, other)]
    error = float(np.sqrt(max(sum(squares), 1e-24)))
    below = sum(square**2 / each["freedom"] for square, each in zip(squares, (one, other), strict=True))
    freedom = error**4 / below if below > 0 else min(one["freedom"], other["freedom"])
    half = float(t.ppf(0.975, freedom)) * error
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "error": error,
        "freedom": freedom,
        "p": float(2 * t.sf(abs(value) / error, freedom)),
    }


def block_length(count: int, independent: float) -> int:
    """Twice the autocorrelation time, less one: 1 where values are independent."""
    return int(np.clip(np.ceil(round(2 * count / max(independent, 1.0) - 1, 9)), 1, max(count // 2, 1)))


def block_weights(count: int, length: int, random: np.random.Generator, draws: int) -> np.ndarray:
    """Bootstrap of blocks of neighbours, in a circle (Politis and Romano 1992): how often each item is drawn, float64
    [draws, count].
    """
    starts = random.integers(0, count, (draws, -(-count // length)))
    index = ((starts[..., None] + np.arange(length)) % count).reshape(draws, -1)[:, :count]
    offset = index + np.arange(draws)[:, None] * count
    return np.bincount(offset.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)
