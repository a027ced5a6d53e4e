"""Places, visits and their statistics, for the question whether a model remembers an order."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.statistics import autocorrelation
from ontogeny.statistics import by_document as stats

MIDDLE, END = (0.25, 0.75), 0.9
"""Shares of a cycle: its middle half, and where its last tenth begins."""
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Loss of I items at C checkpoints between their visits: after all first ones, before all last ones."""

    residual: np.ndarray
    """float64 [C, I]: nats, without the mean of each checkpoint (what all text did) and of each item."""
    phase: np.ndarray
    """float64 [C, I]: steps since the last visit over steps of an epoch; NaN beyond 1 or in a visit."""
    steps: float
    """Of an epoch."""

    def contrasts(self) -> np.ndarray:
        """Mean loss in the middle of the cycle minus that in its last tenth: positive is recovery before a visit.

        One value for each item, whose mean is that of the pooled looks: the ratio of sums, and what the item adds to it
        (its influence; Efron and Tibshirani, "An Introduction to the Bootstrap", 21).
        """
        middle = (self.phase >= MIDDLE[0]) & (self.phase <= MIDDLE[1])
        return self._influence(middle) - self._influence(self.phase > END)

    def _influence(self, inside: np.ndarray) -> np.ndarray:
        total, count = np.where(inside, self.residual, 0.0).sum(axis=0), inside.sum(axis=0)
        value = total.sum() / count.sum() if count.sum() else float("nan")
        return np.asarray(value + len(total) * (total - value * count) / max(count.sum(), 1))

    def curve(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Mean loss by steps since the last visit, in tenths of an epoch: `since`, `value`, `low`, `high`."""
        edges = np.linspace(0, 1, BINS + 1)
        rows = []
        for low, high in pairwise(edges):
            inside = (self.phase > low) & (self.phase <= high) if low else (self.phase >= 0) & (self.phase <= high)
            drawn = self._mean(inside, draws)
            value = self._mean(inside, np.ones((1, self.residual.shape[1])))[0]
            rows.append([(low + high) / 2 * self.steps, value, *np.nanquantile(drawn, [0.025, 0.975])])
        return dict(zip(("since", "value", "low", "high"), np.array(rows).T, strict=True))

    def _mean(self, inside: np.ndarray, draws: np.ndarray) -> np.ndarray:
        total, count = np.where(inside, self.residual, 0.0).sum(axis=0), inside.sum(axis=0)
        weight = draws @ count
        return np.divide(draws @ total, weight, out=np.full(len(draws), np.nan), where=weight > 0)


def cycles_of(book: TrainedBatches) -> Cycles | str:
    """What a ledger saw between visits; else what it lacks.

    The ledger is the whole one, since an epoch is as long as all that was trained on; batches whose loss is no number
    at some look between the first and the last epoch are left out of the losses.
    """
    if book.content is None or not book.batches:
        return "the content of batches: this ledger was recorded without it"
    items = np.unique(book.content)
    visits = [np.sort(book.trained_at[book.content == one]) for one in items]
    if min(len(one) for one in visits) < 3:
        return "batches that come three times: train three epochs or more, batch: 1 where the order is not the same"
    repeats = len(book.before)
    first, last = max(one[0] for one in visits) + 1, min(one[-1] for one in visits) - repeats + 1
    rows = np.flatnonzero((book.step >= first) & (book.step <= last))
    if len(rows) < BINS:
        return f"{BINS} looks between the first and the last epoch, it has {len(rows)}: let the ledger look more often"
    column = np.array([int(np.flatnonzero(book.content == one)[0]) for one in items])
    nll = book.nll[np.ix_(rows, column)]
    sound = np.isfinite(nll).all(axis=0)
    if not sound.any():
        return "batches whose losses are numbers between the first and the last epoch"
    residual = nll - nll[:, sound].mean(axis=1, keepdims=True)
    residual -= residual.mean(axis=0, keepdims=True)
    steps = float(len(items) * repeats)
    step = book.step[rows]
    since = np.stack([_since(one, step, repeats) for one in visits], axis=1) / steps
    order = np.array([i for i in np.argsort([one[0] for one in visits]) if sound[i]])
    return Cycles(residual=residual[:, order], phase=np.where(since <= 1, since, np.nan)[:, order], steps=steps)


def _since(visits: np.ndarray, step: np.ndarray, repeats: int) -> np.ndarray:
    """Steps since an item's last visit ended; NaN while it is being trained on."""
    last = visits[np.searchsorted(visits, step - 1, side="right") - 1]
    coming = visits[np.minimum(np.searchsorted(visits, step), len(visits) - 1)]
    inside = (step > coming - repeats + 1) & (step <= coming)
    return np.where(inside, np.nan, (step - last - 1).astype(float))


def draws_for(count: int) -> int:
    """Resamples and permutations: 2,000, fewer for very many items (400 at least)."""
    return int(np.clip(4_000_000 // max(count, 1), 400, stats.DRAWS))


def rank_correlation(gain: np.ndarray, place: np.ndarray, other: np.ndarray | None) -> dict[str, Any]:
    """Spearman's correlation of gain and place, `other` held fixed: `value`, `low`, `high`, `p`, or what it `lacks`.

    Neighbours along `place` share what happened to them. So p is by t, and the interval by Bonett and Wright (2000),
    with the number of independent stretches that the ranks of gain hold once the line on place is taken off
    (`autocorrelation.stretches`; the effective sample size of Pyper and Peterman 1998) instead of that of batches.
    """
    from scipy.stats import rankdata, t

    if np.ptp(gain) <= autocorrelation.NO_SPREAD or np.ptp(place) == 0:
        return {"value": float("nan"), "lacks": "any difference between gains" if np.ptp(place) else "different places"}
    order = np.argsort(place, kind="stable")
    ranks = rankdata(gain[order]), rankdata(place[order])
    given = None if other is None else rankdata(other[order])
    y, x = (_without(one, given) for one in ranks)
    value = float(np.clip(np.corrcoef(x, y)[0, 1], -1 + 1e-12, 1 - 1e-12))
    held = [np.ones(len(gain)), ranks[1], *([] if given is None else [given])]
    count = autocorrelation.stretches(ranks[0], np.stack(held, axis=1))
    if lack := autocorrelation.lacks(count):
        return {"value": value, "lacks": lack, "stretches": count}
    freedom = count - len(held)
    half = float(t.ppf(0.975, freedom)) * np.sqrt((1 + value**2 / 2) / (freedom - 1))
    p = float(2 * t.sf(abs(value) * np.sqrt(freedom / (1 - value**2)), freedom))
    low, high = np.tanh(np.arctanh(value) + np.array([-half, half]))
    return {"value": value, "low": float(low), "high": float(high), "p": p, "stretches": count}


def _without(rank: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """What a straight line on the other ranks leaves."""
    if given is None:
        return rank
    slope, intercept = np.polyfit(given, rank, 1)
    found: np.ndarray = rank - slope * given - intercept
    return found
