"""Times that are known only to lie between two looks: their distribution, and what goes with them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ontogeny.statistics.permutations import permutation_p


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


def earlier_by_document(low: np.ndarray, high: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Share of the pairs of passages, one of each of two documents, of which the row document's is surely not after.

    `low`, `high` float64 [P]: the intervals of `censoring_intervals`; `document` int [P]. Returns float64 [D, D], in
    order of the documents' ids, 0 on the diagonal.
    """
    _, index = np.unique(document, return_inverse=True)
    member = np.zeros((int(index.max()) + 1, len(index)))
    member[index, np.arange(len(index))] = 1
    member /= member.sum(axis=1, keepdims=True)
    shares = np.asarray(member @ comparable(low, high) @ member.T)
    np.fill_diagonal(shares, 0)
    return shares


class Concordance(NamedTuple):
    """Do later documents have higher values?"""

    value: float
    """Share of the comparable pairs of documents in which the later one has the higher value; ties count half."""
    p: float
    """Two-sided, uncorrected, by permuting values over documents."""


def concordance(earlier: np.ndarray, values: np.ndarray, random: np.random.Generator, draws: int) -> Concordance:
    """Concordance of documents' values [D] with the order of their times; `earlier` as `earlier_by_document` gives it.

    0.5 is no relation (Harrell et al. 1982). p permutes the values over the documents, never over the passages of one,
    which share what it is about. The statistic is divided by its spread over the documents, so that it holds where
    documents of few passages vary more than others (DiCiccio and Romano 2017).
    """
    ahead = earlier.T - earlier  # of the row: how surely its time is after the column's
    sign = np.sign(values[:, None] - values[None])
    total = float(earlier.sum())
    value = 0.5 + float((ahead * sign).sum()) / (4 * total) if total else float("nan")

    def statistic(signs: np.ndarray) -> float:
        by_document = (ahead * signs).sum(axis=1)
        spread = float(np.sqrt(np.square(by_document).sum()))
        return abs(float(by_document.sum())) / spread if spread > 0 else 0.0

    drawn = np.empty(draws)
    for i in range(draws):
        order = random.permutation(len(values))
        drawn[i] = statistic(sign[np.ix_(order, order)])
    return Concordance(value, float(permutation_p(statistic(sign), drawn)))
