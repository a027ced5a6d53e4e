"""Ratios of measurements taken in turn, and whether a figure is what was asked for."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

LEAST_PAIRS = 6
"""Fewer pairs have no 95% interval: even from the least to the most of five holds their median in 94% only."""


def ratio_with_interval(numerator: Sequence[float], denominator: Sequence[float]) -> dict[str, float]:
    """Median of the ratios of pairs taken in turn, and its distribution-free 95% interval.

    What slows the machine for a while slows both of a pair, and so not their ratio. The interval is that of a median:
    from the k-th least ratio to the k-th greatest, k the greatest for which it holds with a probability of at least
    95%, 1 - 2 sum_{i<k} binomial(n, i) / 2^n (David and Nagaraja, "Order Statistics", 2003, 7.1). With seconds of
    theirs above and of ours below, it says how many times faster ours is.
    """
    ratios = np.sort(np.asarray(numerator, dtype=float) / np.asarray(denominator, dtype=float))
    count = len(ratios)
    figures = {"ratio": float(np.median(ratios)), "n": count}
    if count < LEAST_PAIRS:
        return figures
    outside = np.cumsum([comb(count, i) for i in range(count // 2)]) * 2 / 2**count
    k = int((outside <= 0.05).sum())  # ratios left out at each end, plus one
    return {**figures, "low": float(ratios[k - 1]), "high": float(ratios[count - k])}


def asked(figures: dict[str, Any], *, at_least: float | None = None, at_most: float | None = None) -> dict[str, Any]:
    """The figures with the bound that was asked of their ratio, seconds or share."""
    return {**figures, "asked": {"at least": at_least} if at_least is not None else {"at most": at_most}}
