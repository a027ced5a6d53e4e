"""Which passages go through the model together."""

from collections.abc import Sequence

import numpy as np

BATCH_COST_TOKENS = 64
"""What starting another batch costs, in tokens: the fixed part of a small model's forward pass."""


def plan_batches(lengths: Sequence[int], batch_tokens: int) -> list[np.ndarray]:
    """Batches of a probe set: int64 row numbers, longest first, at most `batch_tokens` tokens each, padding included.

    Of all such cuts the one with the fewest tokens, padding included, where each batch counts `BATCH_COST_TOKENS`
    more: passages of very different length are not padded to one. A passage longer than the budget goes alone. The plan
    depends only on the lengths and the budget, never on which measures are due, because padding changes bits.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    longest_first = np.asarray(lengths, dtype=np.int64)[order]
    count = len(order)
    cost = np.zeros(count + 1, dtype=np.int64)  # of the best cut of what stands from a row on
    end = np.zeros(count, dtype=np.int64)  # where the first batch of that cut ends
    for row in range(count - 1, -1, -1):
        longest = max(int(longest_first[row]), 1)
        most = min(max(batch_tokens // longest, 1), count - row)
        costs = np.arange(1, most + 1) * longest + BATCH_COST_TOKENS + cost[row + 1 : row + most + 1]
        taken = most - 1 - int(np.argmin(costs[::-1]))  # of equal cuts the one with the fullest batch
        cost[row], end[row] = costs[taken], row + taken + 1
    plan = []
    start = 0
    while start < count:
        plan.append(order[start : end[start]])
        start = int(end[start])
    return plan
