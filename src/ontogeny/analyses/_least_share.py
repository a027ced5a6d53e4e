"""How much replay is enough: the smallest share that keeps a loss within a bound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.analyses._statistics import mean_interval


@dataclass(frozen=True, kw_only=True)
class LeastShare:
    """Shares between those that were tested are read off straight lines."""

    value: float
    """NaN: none of those tested."""
    low: float
    high: float
    """Where the ends of the 95% t intervals over seeds meet the bound. NaN as `high`: some of the interval lies above
    the bound at every share that was tested. NaN as `low`: all of it does."""
    tested: tuple[float, ...]

    @property
    def words(self) -> str:
        """In words."""
        first, last = self.tested[0], self.tested[-1]
        if np.isnan(self.value):
            doubt = "" if np.isnan(self.low) else f"; by the interval it might be from {self.low:.3g} on"
            return f"none of those tested (up to {last:g}){doubt}"
        least = "at most " if self.value == first else ""
        low = f"at most {first:g}" if self.low == first else f"{self.low:.3g}"
        high = f"more than {last:g}" if np.isnan(self.high) else f"{self.high:.3g}"
        return f"{least}{self.value:.3g} (95% {low} to {high})"


def least_share(shares: Sequence[float], rises: np.ndarray, bound: float) -> LeastShare:
    """The smallest share at which the mean rise is within the bound. `shares` rise; `rises` float [shares, seeds].

    More replay is taken never to harm: means, and the ends of their intervals, are made falling by pooling adjacent
    violators (Ayer et al. 1955), and cut with the bound on straight lines between the shares tested. With fewer than
    two seeds there is no interval.
    """
    ends = np.array([mean_interval(one)[:3] for one in rises])
    value, low, high = (_first_within(np.array(shares), falling(ends[:, i]), bound) for i in (0, 1, 2))
    return LeastShare(value=value, low=low, high=high, tested=tuple(shares))


def falling(values: np.ndarray) -> np.ndarray:
    """The closest values, by least squares, that never rise: pooled means of neighbours that do. NaN if one is NaN."""
    pools: list[tuple[float, int]] = []
    for one in values:
        mean, n = float(one), 1
        while pools and pools[-1][0] < mean:
            before, m = pools.pop()
            mean, n = (before * m + mean * n) / (m + n), m + n
        pools.append((mean, n))
    return np.repeat([mean for mean, _ in pools], [n for _, n in pools])


def _first_within(shares: np.ndarray, curve: np.ndarray, bound: float) -> float:
    within = np.flatnonzero(curve <= bound)
    if not len(within):
        return float("nan")
    i = int(within[0])
    if i == 0:
        return float(shares[0])
    part = (curve[i - 1] - bound) / (curve[i - 1] - curve[i])
    return float(shares[i - 1] + part * (shares[i] - shares[i - 1]))
