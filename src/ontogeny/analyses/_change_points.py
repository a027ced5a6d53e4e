"""Where a curve that many documents trace changes its slope, and how steep it is."""

from typing import Literal, TypedDict

import numpy as np

from ontogeny.analyses.recorded.items import Items
from ontogeny.statistics.documents import LEAST_DOCUMENTS, SPLITS, reporting_halves
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import percentile_interval
from ontogeny.statistics.paired import PairedDifference, paired_difference
from ontogeny.statistics.segmented import TwoLines, slopes, slopes_of_sides

LEAST_CHECKPOINTS = 8
LEVEL = 0.05


class ChangePoint(TypedDict):
    """Where the slope changes, in steps; slopes in units of the loss per 100 steps."""

    assessable: Literal[True]
    step: float
    low: float
    high: float
    """The middle 95% of the steps chosen by halves of the documents."""
    before: PairedDifference
    after: PairedDifference
    bend: PairedDifference
    """Slope after minus slope before."""
    claimed: bool


class NoChangePoint(TypedDict):
    """Why a change point is not assessable."""

    assessable: Literal[False]
    lacks: str


def slope(items: Items) -> PairedDifference:
    """Change of the mean per 100 steps, by least squares over all checkpoints, over documents."""
    return paired_difference(100 * slopes(items.step, items.total), items.weight)


def change_point(items: Items, random: np.random.Generator, tests: int = 1) -> ChangePoint | NoChangePoint:
    """The step at which two connected lines fit best, and whether the slopes on both sides differ.

    The step is chosen on one half of the documents, three checkpoints or more on each side; on the other half each
    document gets a slope before and one after it, by least squares of each side alone; both ways, over 20 halvings.
    `claimed`: the slopes differ, and at least one of the two is not 0, each with p below 0.05 when corrected
    (Bonferroni) over `tests`, as many curves as are looked at for a change point, and the latter over both slopes. A
    smooth bend has one, too.
    """
    if len(items.step) < LEAST_CHECKPOINTS:
        remedy = f"measure at {LEAST_CHECKPOINTS} or more"
        return {"assessable": False, "lacks": shortage(LEAST_CHECKPOINTS, "checkpoint", len(items.step), remedy)}
    if not items.items:
        remedy = "ontogeny measure RUN --kind token_nll  adds a loss for each passage"
        return {"assessable": False, "lacks": f"losses by passage: {items.basis}; {remedy}"}
    if items.documents < LEAST_DOCUMENTS:
        remedy = "take the probe set from more documents"
        return {"assessable": False, "lacks": shortage(LEAST_DOCUMENTS, "document", items.documents, remedy)}
    lines = TwoLines(items.step)
    sides = [np.stack(slopes_of_sides(items.step, items.total, int(at))) for at in lines.candidates]
    total, steps = np.zeros((2, items.documents)), []
    for half in reporting_halves(items.documents, random):
        place = lines.best(items.total[:, ~half].sum(axis=1))
        total[:, half] += sides[place][:, half] / SPLITS
        steps.append(items.step[lines.candidates[place]])
    before, after = (paired_difference(100 * side, items.weight) for side in total)
    bend = paired_difference(100 * (total[1] - total[0]), items.weight)
    low, high = percentile_interval(np.array(steps))
    return {
        "assessable": True,
        "step": float(np.median(steps)),
        "low": float(low),
        "high": float(high),
        "before": before,
        "after": after,
        "bend": bend,
        "claimed": bool(tests * max(bend.p, 2 * min(before.p, after.p)) < LEVEL),
    }
