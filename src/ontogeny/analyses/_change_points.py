"""Where a curve that many documents trace changes its slope, and how steep it is."""

from typing import Any

import numpy as np

from ontogeny.analyses.recorded.items import Items
from ontogeny.statistics.paired import LEAST, SPLITS, Difference, difference

LEAST_SIDE = 3
LEAST_CHECKPOINTS = 8


def slope(items: Items) -> Difference:
    """Change of the mean per 100 steps, by least squares over all checkpoints, over documents."""
    return difference(100 * _slope(items.step, items.total), items.weight)


def change_point(items: Items, random: np.random.Generator) -> dict[str, Any]:
    """The step at which two connected lines fit best, and whether the slopes on both sides differ.

    The step is chosen on one half of the documents, three checkpoints or more on each side; on the other half each
    document gets a slope before and one after it, by least squares of each side alone; both ways, over 20 halvings.
    `claimed`: the interval of the difference of slopes excludes 0, and so does that of one slope at least. `low` and
    `high` of the step: the middle 95% of the choices. A smooth bend has a change point, too.
    """
    if len(items.step) < LEAST_CHECKPOINTS or items.documents < LEAST:
        lack = f"{LEAST_CHECKPOINTS} checkpoints, it has {len(items.step)}"
        if len(items.step) >= LEAST_CHECKPOINTS:
            lack = f"{LEAST} documents with token_nll, it has {items.documents}"
        return {"assessable": False, "lacks": lack}
    count, inner = items.documents, range(LEAST_SIDE - 1, len(items.step) - LEAST_SIDE + 1)
    sides = np.array(
        [
            [_slope(items.step[: at + 1], items.total[: at + 1]), _slope(items.step[at:], items.total[at:])]
            for at in inner
        ]
    )
    unfit = np.array([_unfit(items.step, items.step[at]) for at in inner])
    total, chosen = np.zeros((2, count)), []
    for _ in range(SPLITS):
        first = np.zeros(count, dtype=bool)
        first[random.permutation(count)[: count // 2]] = True
        for mine in (first, ~first):
            at = int(np.square(unfit @ items.total[:, ~mine].sum(axis=1)).sum(axis=1).argmin())
            total[:, mine] += sides[at][:, mine] / SPLITS
            chosen.append(items.step[inner[at]])
    before, after = (difference(100 * one, items.weight) for one in total)
    bend = difference(100 * (total[1] - total[0]), items.weight)
    sure = [one.low > 0 or one.high < 0 for one in (before, after)]
    low, high = np.quantile(chosen, [0.025, 0.975])
    return {
        "assessable": True,
        "step": float(np.median(chosen)),
        "low": float(low),
        "high": float(high),
        "before": before,
        "after": after,
        "bend": bend,
        "claimed": bool((bend.low > 0 or bend.high < 0) and any(sure)),
    }


def _slope(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of each column, per unit of x."""
    centred = x - x.mean()
    return np.asarray(centred @ (values - values[:1]) / (centred @ centred))


def _unfit(x: np.ndarray, at: float) -> np.ndarray:
    """What two lines that meet at `at` leave of a curve: a matrix [C, C] to multiply it with."""
    design = np.stack([np.ones(len(x)), x, np.maximum(x - at, 0)], axis=1)
    return np.asarray(np.eye(len(x)) - design @ np.linalg.pinv(design))
