"""How much replay is enough: the smallest share that keeps a loss within a bound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.intervals import t_interval
from ontogeny.statistics.isotonic import non_increasing

LEAST = 5
"""Seeds, below which nothing is claimed."""


@dataclass(frozen=True, kw_only=True)
class LeastShare:
    """Between two shares that were tested nothing is known but that it lies between them."""

    between: tuple[float, float]
    """The largest share tested at which the mean lies above the bound, and the smallest from which on it does not.
    NaN as the first: it lies above at none; as the second: at all."""
    sure: tuple[float, float]
    """The same of the ends of the 95% t intervals over seeds: above the bound with all of its interval at the first,
    within it with all of its interval at the second. NaN, too, with one seed."""
    line: float
    """Where a straight line between both meets the bound: a guess. NaN: nowhere."""
    tested: tuple[float, ...]
    seeds: int
    why_not: str = ""
    """Why nothing can be said; empty if it can."""

    @property
    def words(self) -> str:
        """In words."""
        if self.why_not:
            return f"not assessable: {self.why_not}"
        if np.isnan(self.between[1]):
            text = f"none of those tested (up to {self.tested[-1]:g})"
            if self.seeds > 1 and self.sure[0] != self.tested[-1]:
                text += f"; by the interval it might be {_words(self.sure)}"
        else:
            text = _words(self.between)
            text += f" (95%: {_words(self.sure)})" if self.seeds > 1 else ""
            text += f"; on a straight line {self.line:.3g}" if self.line not in self.tested else ""
        if self.seeds < 2:
            return f"{text}; one seed: no interval, no claim"
        return text if self.seeds >= LEAST else f"{text}; fewer than {LEAST} seeds: no claim"


def _words(ends: tuple[float, float]) -> str:
    low, high = ends
    if np.isnan(low):
        return "not known" if np.isnan(high) else f"at most {high:g}"
    return f"more than {low:g}" if np.isnan(high) else f"between {low:g} and {high:g}"


def least_share(shares: Sequence[float], rises: np.ndarray, bound: float) -> LeastShare:
    """The smallest share from which on the mean rise is within the bound. `shares` rise; `rises` float [shares, seeds].

    More replay is taken never to harm: means, and the ends of their intervals, are made falling by pooling adjacent
    violators (Ayer et al. 1955). How the rise falls between two shares is not known, so that the answer is the gap; a
    straight line would be far off where the curve bends.
    """
    rises = np.asarray(rises, dtype=np.float64)
    tested, seeds, nan = tuple(float(one) for one in shares), rises.shape[1], float("nan")
    broken = [share for share, one in zip(tested, rises, strict=True) if not np.isfinite(one).all()]
    if broken:
        where = ", ".join(f"{share:g}" for share in broken)
        return LeastShare(
            between=(nan, nan),
            sure=(nan, nan),
            line=nan,
            tested=tested,
            seeds=seeds,
            why_not=f"a loss is not finite at {where}",
        )
    ends = np.array([t_interval(one)[:3] for one in rises])
    mean = non_increasing(ends[:, 0])
    sure = (nan, nan)
    if seeds > 1:
        sure = (_gap(tested, non_increasing(ends[:, 1]), bound)[0], _gap(tested, non_increasing(ends[:, 2]), bound)[1])
    line = _first_within(np.array(tested), mean, bound)
    return LeastShare(between=_gap(tested, mean, bound), sure=sure, line=line, tested=tested, seeds=seeds)


def _gap(shares: Sequence[float], curve: np.ndarray, bound: float) -> tuple[float, float]:
    """The last share above the bound and the first within it, of a falling curve."""
    above = int((curve > bound).sum())
    nan = float("nan")
    return (shares[above - 1] if above else nan), (shares[above] if above < len(shares) else nan)


def _first_within(shares: np.ndarray, curve: np.ndarray, bound: float) -> float:
    within = np.flatnonzero(curve <= bound)
    if not len(within):
        return float("nan")
    i = int(within[0])
    if i == 0:
        return float(shares[0])
    part = (curve[i - 1] - bound) / (curve[i - 1] - curve[i])
    return float(shares[i - 1] + part * (shares[i] - shares[i - 1]))
