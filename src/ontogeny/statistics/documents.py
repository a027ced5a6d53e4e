"""Documents as the unit of resampling: its passages count as one, and halves of documents check each other."""

from collections.abc import Iterator, Sequence

import numpy as np

SPLITS = 20
"""Random halvings of the documents that a choice is averaged over."""
LEAST_DOCUMENTS = 4
"""Documents, below which one half cannot choose for the other."""


def effective_number(weight: np.ndarray) -> float:
    """Documents of equal weight that say as much: (sum w)^2 / sum w^2 (Kish, "Survey Sampling", 1965); 0 of none.

    `weight` float [D]: tokens or items of each document. D where all weigh alike, near 1 where one holds nearly all.
    """
    squares = float(np.square(weight).sum())
    return float(weight.sum()) ** 2 / squares if squares > 0 else 0.0


def means_by_document(values: np.ndarray, document: np.ndarray) -> np.ndarray:
    """Means over the passages of each document: [..., passages] -> [..., documents], in order of the document's id.

    `document` int or str [passages]. NaN passages are left out; a document without any other is NaN. Not for ratios
    such as nats per token, where long passages must weigh more: there, sum and divide (`paired.paired_difference`).
    """
    _, index = np.unique(document, return_inverse=True)
    count = index.max() + 1 if len(index) else 0
    known = np.isfinite(values)
    total = np.zeros((*values.shape[:-1], count))
    n = np.zeros_like(total)
    for i in range(count):
        inside = index == i
        total[..., i] = np.where(known[..., inside], values[..., inside], 0).sum(axis=-1)
        n[..., i] = known[..., inside].sum(axis=-1)
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def halves_of_groups(groups: Sequence[np.ndarray], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of the documents, each group cut in half: one to choose on, one to report on.

    `groups`: indices of the documents of each group; the first half gets the odd one.
    """
    choose, report = [], []
    for group in groups:
        shuffled = random.permutation(group)
        middle = (len(shuffled) + 1) // 2
        choose.append(shuffled[:middle])
        report.append(shuffled[middle:])
    return np.concatenate(choose), np.concatenate(report)


def reporting_halves(count: int, random: np.random.Generator, splits: int = SPLITS) -> Iterator[np.ndarray]:
    """The half to report on, bool [count], of each random halving; the other half chooses. Both ways: 2 x `splits`."""
    for _ in range(splits):
        first = np.zeros(count, dtype=bool)
        first[random.permutation(count)[: count // 2]] = True
        yield first
        yield ~first
