"""How the loss or a task of a probe set changed: the one estimate that headline, captions and analyses share."""

import numpy as np

from ontogeny.analyses.recorded.items import Items
from ontogeny.statistics.documents import LEAST_DOCUMENTS
from ontogeny.statistics.paired import PairedDifference, chosen_by_others, paired_difference, since_best


def change(items: Items, first: int, last: int) -> PairedDifference:
    """Mean at checkpoint `last` minus that at `first` (indices), paired by document."""
    return paired_difference(items.total[last] - items.total[first], items.weight)


def worse_since_first(items: Items) -> PairedDifference:
    """Last minus first checkpoint; positive is worse."""
    return paired_difference(items.worse * (items.total[-1] - items.total[0]), items.weight)


def worse_since_best(items: Items) -> PairedDifference:
    """Last minus best checkpoint, the best chosen by other documents (`paired.since_best`); positive is worse.

    The halvings are the same wherever it is asked, so that all places give the same number.
    """
    cost = items.worse * (items.total - items.total[-1])
    return since_best(cost, items.weight, np.random.default_rng(0))


def best_since_first(items: Items) -> PairedDifference:
    """Best minus first checkpoint, the best chosen by other documents; negative is better. NaN for few documents."""
    cost = items.worse * (items.total - items.total[0])
    if items.documents < LEAST_DOCUMENTS:
        return paired_difference(np.full(items.documents, np.nan), items.weight)
    chosen = chosen_by_others(cost, items.weight, lambda curve: int(curve.argmin()), np.random.default_rng(0))
    return paired_difference(chosen, items.weight)
