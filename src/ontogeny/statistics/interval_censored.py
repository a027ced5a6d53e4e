"""Times that are known only to lie between two looks: their distribution, and what goes with them."""

from itertools import pairwise

import numpy as np


def censoring_intervals(time: np.ndarray, reached: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high] that holds the time from which on each item is `reached` to the end: float64 [P] each.

    `time` [C] of the looks, `reached` bool [C, P]. -inf below if it was reached from the first look on, inf above if it
    is not at the last.
    """
    stays = np.logical_and.accumulate(reached[::-1], axis=0)[::-1]
    first = np.where(stays.any(axis=0), stays.argmax(axis=0), len(time))
    edges = np.concatenate([[-np.inf], time, [np.inf]])
    return edges[first], edges[first + 1]


def turnbull(low: np.ndarray, high: np.ndarray, tolerance: float = 1e-9) -> tuple[np.ndarray, np.ndarray]:
    """Self-consistent estimate of the distribution of times that lie in (low, high] (Turnbull 1976).

    Returns right ends, float64 [K], and the share of times up to each, float64 [K]. Mass can lie only in the innermost
    intervals, those from a `low` to the next `high` without another between; it is moved by expectation and
    maximisation until no mass changes by more than `tolerance`. Assumes that looks do not depend on the times.
    """
    ends = sorted({(value, 0) for value in low} | {(value, -1) for value in high})  # at a tie, high comes first
    inner = [(left, right) for (left, kind), (right, next_kind) in pairwise(ends) if kind == 0 and next_kind == -1]
    lefts, rights = np.array(inner).T
    inside = (lefts[None] >= low[:, None]) & (rights[None] <= high[:, None])
    mass = np.full(len(inner), 1 / len(inner))
    for _ in range(10_000):
        weights = inside * mass
        previous, mass = mass, (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(mass - previous).max() < tolerance:
            break
    return rights, np.cumsum(mass)


def comparable(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """bool [P, P]: is the row's time surely not after the column's (its interval ends where the other's begins)?"""
    earlier: np.ndarray = high[:, None] <= low[None]
    return earlier & np.isfinite(high)[:, None]


def concordance(earlier: np.ndarray, values: np.ndarray) -> float:
    """Share of comparable pairs, bool [P, P], in which the later one has the higher value [P]; ties count half.

    0.5 is no relation (Harrell et al. 1982). Pairs share items: test it by permuting the values, not by a count of
    pairs.
    """
    rows, columns = np.nonzero(earlier)
    return float((np.sign(values[columns] - values[rows]) + 1).mean() / 2) if len(rows) else float("nan")
