"""Places, visits and their statistics, for the question whether a model remembers an order."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ontogeny.analyses import _statistics as stats
from ontogeny.analyses._ledger import Book

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

    def contrast(self, draws: np.ndarray) -> np.ndarray:
        """Mean loss in the middle of the cycle minus that in its last tenth: positive is recovery before a visit.

        `draws` [samples, I] are weights of items; one value for each sample.
        """
        middle = (self.phase >= MIDDLE[0]) & (self.phase <= MIDDLE[1])
        return self._mean(middle, draws) - self._mean(self.phase > END, draws)

    def observed(self) -> float:
        """The contrast, every item once."""
        return float(self.contrast(np.ones((1, self.residual.shape[1])))[0])

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


def cycles_of(book: Book) -> Cycles | str:
    """What a ledger saw between visits; else what it lacks."""
    if book.content is None:
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
    residual = nll - nll.mean(axis=1, keepdims=True)
    residual -= residual.mean(axis=0, keepdims=True)
    steps = float(len(items) * repeats)
    step = book.step[rows]
    since = np.stack([_since(one, step, repeats) for one in visits], axis=1) / steps
    order = np.argsort([one[0] for one in visits])
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


def block_length(count: int) -> int:
    """Neighbours in one block: the cube root of their number, rounded up."""
    return int(np.ceil(round(count ** (1 / 3), 9)))


def block_permutations(count: int, random: np.random.Generator, draws: int) -> np.ndarray:
    """Permutations that move whole blocks of neighbours, cut at a random place: int64 [draws, count]."""
    block = np.arange(count) // block_length(count)
    key = random.random((draws, int(block[-1]) + 1))
    order = np.argsort(key[:, block], axis=1, kind="stable")
    return (order + random.integers(0, count, (draws, 1))) % count


def block_weights(count: int, random: np.random.Generator, draws: int) -> np.ndarray:
    """Bootstrap of blocks of neighbours, in a circle: how often each item is drawn, float64 [draws, count]."""
    length = block_length(count)
    starts = random.integers(0, count, (draws, -(-count // length)))
    index = ((starts[..., None] + np.arange(length)) % count).reshape(draws, -1)[:, :count]
    offset = index + np.arange(draws)[:, None] * count
    return np.bincount(offset.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)


def interval(value: float, drawn: np.ndarray, count: int) -> dict[str, float]:
    """`value`, the 95% interval `low` to `high`, and two-sided `p` that it is 0, from its block bootstrap.

    By t with as many degrees of freedom as there are blocks among `count` items, less one.
    """
    from scipy.stats import t

    freedom = max(-(-count // block_length(count)) - 1, 1)
    error = max(float(np.nanstd(drawn)), 1e-12)
    half = float(t.ppf(0.975, freedom)) * error
    return {
        "value": value,
        "low": value - half,
        "high": value + half,
        "p": float(2 * t.sf(abs(value) / error, freedom)),
    }


def rank_correlation(
    gain: np.ndarray, place: np.ndarray, other: np.ndarray | None, random: np.random.Generator
) -> dict[str, float]:
    """Spearman's correlation of gain and place, `other` held fixed: `value`, `low`, `high`, `p`.

    Blocks of neighbours along `place` are permuted and resampled, because neighbours share what happened to them.
    """
    from scipy.stats import rankdata

    order = np.argsort(place, kind="stable")
    given = None if other is None else rankdata(other[order])
    x, y = _without(rankdata(place[order]), given), _without(rankdata(gain[order]), given)
    count = len(gain)
    draws = draws_for(count)
    value = _correlations(np.ones((1, count)), x, y)[0]
    drawn = y[block_permutations(count, random, draws)]
    null = (drawn - y.mean()) @ (x - x.mean()) / (count * max(x.std() * y.std(), 1e-12))
    p = (1 + (np.abs(null) >= abs(value) - 1e-12).sum()) / (1 + draws)
    low, high = np.quantile(_correlations(block_weights(count, random, draws), x, y), [0.025, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high), "p": float(p)}


def _without(rank: np.ndarray, given: np.ndarray | None) -> np.ndarray:
    """What a straight line on the other ranks leaves."""
    if given is None:
        return rank
    slope, intercept = np.polyfit(given, rank, 1)
    found: np.ndarray = rank - slope * given - intercept
    return found


def _correlations(weight: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weighted Pearson correlations, one for each row of weights."""
    share = weight / weight.sum(axis=1, keepdims=True)
    mean_x, mean_y = share @ x, share @ y
    covariance = share @ (x * y) - mean_x * mean_y
    spread = (share @ x**2 - mean_x**2) * (share @ y**2 - mean_y**2)
    return np.asarray(covariance / np.sqrt(np.maximum(spread, 1e-12)))
