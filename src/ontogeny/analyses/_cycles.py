"""Visits of the same batches in cycles of training, for the question whether a model remembers an order."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import DRAWS

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

        One value per item, float64 [I], whose mean is that of the pooled looks: the ratio of sums plus the item's
        influence on it (Efron and Tibshirani, "An Introduction to the Bootstrap", 21).
        """
        middle = (self.phase >= MIDDLE[0]) & (self.phase <= MIDDLE[1])
        return self._with_influence(middle) - self._with_influence(self.phase > END)

    def _with_influence(self, inside: np.ndarray) -> np.ndarray:
        total, count = self._sums(inside)
        mean = total.sum() / count.sum() if count.sum() else float("nan")
        return np.asarray(mean + len(total) * (total - mean * count) / max(count.sum(), 1))

    def _sums(self, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each item, the sum of its residuals where `inside` [C, I], and how many they are."""
        return np.where(inside, self.residual, 0.0).sum(axis=0), inside.sum(axis=0)

    def curve(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Mean loss by steps since the last visit, in tenths of an epoch: `since`, `value`, `low`, `high`.

        `draws` float64 [draws, I]: how often each item is in a bootstrap sample.
        """
        once = np.ones((1, self.residual.shape[1]))
        rows = []
        for low, high in pairwise(np.linspace(0, 1, BINS + 1)):
            inside = (self.phase > low) & (self.phase <= high) if low else (self.phase >= 0) & (self.phase <= high)
            ends = np.nanquantile(self._means(inside, draws), [0.025, 0.975])
            rows.append([(low + high) / 2 * self.steps, self._means(inside, once)[0], *ends])
        return dict(zip(("since", "value", "low", "high"), np.array(rows).T, strict=True))

    def _means(self, inside: np.ndarray, draws: np.ndarray) -> np.ndarray:
        total, count = self._sums(inside)
        weight = draws @ count
        return np.divide(draws @ total, weight, out=np.full(len(draws), np.nan), where=weight > 0)


def cycles_of(batches: TrainedBatches) -> Cycles | str:
    """What a ledger recorded between visits; else what it lacks.

    Takes the whole ledger, since an epoch is as long as all that was trained on; batches whose loss is no number at
    some checkpoint between the first and the last epoch are left out of the losses.
    """
    if batches.content is None or not batches.count:
        return "the content of batches, which ledgers of earlier versions do not hold: train again"
    items = np.unique(batches.content)
    visits = [np.sort(batches.trained_at[batches.content == item]) for item in items]
    if min(len(steps) for steps in visits) < 3:
        return "batches that come three times: train three epochs or more, batch: 1 where the order is not the same"
    repeats = len(batches.before)
    first, last = max(steps[0] for steps in visits) + 1, min(steps[-1] for steps in visits) - repeats + 1
    rows = np.flatnonzero((batches.step >= first) & (batches.step <= last))
    if len(rows) < BINS:
        where = "between the first and the last epoch"
        return shortage(BINS, "look", len(rows), "let the ledger look more often", where)
    column = np.array([int(np.flatnonzero(batches.content == item)[0]) for item in items])
    nll = batches.nll[np.ix_(rows, column)]
    sound = np.isfinite(nll).all(axis=0)
    if not sound.any():
        return "batches whose losses are numbers between the first and the last epoch"
    residual = nll - nll[:, sound].mean(axis=1, keepdims=True)
    residual -= residual.mean(axis=0, keepdims=True)
    epoch = float(len(items) * repeats)
    since = np.stack([_since(steps, batches.step[rows], repeats) for steps in visits], axis=1) / epoch
    order = np.array([i for i in np.argsort([steps[0] for steps in visits]) if sound[i]])
    return Cycles(residual=residual[:, order], phase=np.where(since <= 1, since, np.nan)[:, order], steps=epoch)


def _since(visits: np.ndarray, step: np.ndarray, repeats: int) -> np.ndarray:
    """Steps since an item's last visit ended; NaN while it is being trained on."""
    last = visits[np.searchsorted(visits, step - 1, side="right") - 1]
    coming = visits[np.minimum(np.searchsorted(visits, step), len(visits) - 1)]
    inside = (step > coming - repeats + 1) & (step <= coming)
    return np.where(inside, np.nan, (step - last - 1).astype(float))


def draws_for(items: int) -> int:
    """Bootstrap samples of so many items: 2,000, fewer for very many (400 at least)."""
    return int(np.clip(4_000_000 // max(items, 1), 400, DRAWS))
