"""Which passages go through the model together."""

from collections.abc import Sequence

import numpy as np


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[np.ndarray]:
    """Batches of a probe set: int64 row numbers, longest first, at most `batch_tokens` tokens each, padding included.

    A passage longer than the budget goes alone. The plan depends only on the lengths and the budget, never on which
    measures are due, because padding changes bits.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    plan = []
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        count = max(batch_tokens // max(longest, 1), 1)
        plan.append(order[start : start + count])
        start += count
    return plan
