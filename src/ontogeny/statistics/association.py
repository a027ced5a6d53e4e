"""Do two things go together: along one run, where neighbours in time are alike, and across runs?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_INTERVALS = 32
"""Between checkpoints: with fewer, shifts claim too much where neighbours are alike (docs/statistics.md)."""
LEAST_STRETCHES = 12
LEAST_RUNS = 5


def along(step: np.ndarray, moved: np.ndarray, loss: np.ndarray) -> dict[str, Any]:
    """Correlation of the rates at which rows of `moved` [R, C] and `loss` [C] change between checkpoints.

    Both are differenced and divided by the steps between, and what a parabola in the log of the step explains is taken
    off each, because two curves that both rise fast at first go together whatever they are. `r` [R] is Pearson's. `p`
    is that of the largest |r| over the rows, among all circular shifts of one series against the other, so that it
    holds for series whose neighbours are alike, as long as enough shifts differ: n (1 - c) / (1 + c) of them, c the
    product of the two series' correlations r of neighbours (Bartlett 1935), averaged over the rows, are at least
    `LEAST_STRETCHES`. Against the bias of r by what the q columns of the trend took, (q + (q + 2) r) / n is added
    (Kendall 1954, for q = 1). `raw` [R]: r without taking the trend off.
    """
    n = len(step) - 1
    if n < LEAST_INTERVALS:
        return {"assessable": False, "lacks": f"{LEAST_INTERVALS + 1} common checkpoints, it has {n + 1}"}
    rates = np.diff(np.vstack([moved, loss]), axis=1) / np.diff(step)
    if (np.ptp(rates, axis=1) == 0).any():
        return {"assessable": False, "lacks": "any change of what is to go together"}
    time = np.log1p((step[1:] + step[:-1]) / 2)
    trend = np.stack([np.ones(n), time, time**2], axis=1)
    rest = rates - (trend @ np.linalg.lstsq(trend, rates.T, rcond=None)[0]).T
    held = _stretches(rest, trend)
    if held < LEAST_STRETCHES:
        return {"assessable": False, "lacks": f"{LEAST_STRETCHES} independent stretches, it has about {held:.1f}"}
    shifted = np.stack([np.roll(rest[-1], shift) for shift in range(n)])
    r = _correlation(rest[:-1], shifted)
    largest = np.abs(r).max(axis=0)
    p = [float((largest >= abs(one) - 1e-12).mean()) for one in r[:, 0]]
    return {"assessable": True, "r": r[:, 0], "p": p, "raw": _correlation(rates[:-1], rates[-1:])[:, 0], "n": n}


def _stretches(rest: np.ndarray, trend: np.ndarray) -> float:
    """Independent pairs of the last series with the others, on average over them."""
    n, q = trend.shape
    r = np.sum(rest[:, 1:] * rest[:, :-1], axis=1) / np.square(rest).sum(axis=1)
    alike = np.clip(r + (q + (q + 2) * r) / n, 0, 1)
    c = float(alike[-1] * alike[:-1].mean())
    return n * (1 - c) / (1 + c)


def _correlation(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Pearson's r of each row with each other: [rows, others]."""
    a, b = (one - one.mean(axis=1, keepdims=True) for one in (rows, others))
    return np.asarray(a @ b.T / np.sqrt(np.outer(np.square(a).sum(axis=1), np.square(b).sum(axis=1))))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Pearson's r over independent runs, with Fisher's interval; NaN below five runs."""

    n: int
    """Runs whose two numbers are numbers."""
    left_out: int
    """The others."""
    r: float
    low: float
    high: float


def arm(x: Sequence[float], y: Sequence[float]) -> Arm:
    """tanh(atanh r +- 1.96 / sqrt(n - 3)) (Fisher 1921)."""
    pairs, nan = np.array([x, y], dtype=np.float64), float("nan")
    sound = np.isfinite(pairs).all(axis=0)
    x, y = pairs[:, sound]
    n, left_out = len(x), int((~sound).sum())
    if n < LEAST_RUNS or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Arm(n=n, left_out=left_out, r=nan, low=nan, high=nan)
    r = float(np.corrcoef(x, y)[0, 1])
    z, half = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), 1.959964 / np.sqrt(n - 3)
    return Arm(n=n, left_out=left_out, r=r, low=float(np.tanh(z - half)), high=float(np.tanh(z + half)))


def across(points: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, Any]:
    """r of each arm's points (x, y); of two arms, also p that their correlations are one (Fisher's z)."""
    from scipy.stats import norm

    arms = {name: arm(*zip(*pairs, strict=True)) if pairs else arm((), ()) for name, pairs in points.items()}
    found: dict[str, Any] = {"arms": arms, "points": dict(points)}
    if len(arms) == 2 and all(np.isfinite(one.r) for one in arms.values()):
        one, other = arms.values()
        apart = np.arctanh(np.clip([one.r, other.r], -1 + 1e-12, 1 - 1e-12))
        z = float((apart[0] - apart[1]) / np.sqrt(1 / (one.n - 3) + 1 / (other.n - 3)))
        found |= {"z": z, "p": float(2 * norm.sf(abs(z)))}
    return found
