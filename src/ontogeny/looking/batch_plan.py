"""Which passages go through the model together."""

from collections.abc import Sequence

import numpy as np


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[np.ndarray]:
    """Cut a probe set into batches: int64 row numbers, longest first, at most `batch_tokens` with padding.

    A passage longer than the budget goes alone. The plan depends on the lengths and the budget alone, never on which
    measures are due, because padding changes bits.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    plan = []
    start = 0
    while start < len(order):
        count = max(batch_tokens // max(int(lengths[order[start]]), 1), 1)
        plan.append(order[start : start + count])
        start += count
    return plan
