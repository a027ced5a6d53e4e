"""The Fisher diagonal by hooks, compared with one backward pass per example and one plain backward pass per batch.

128 passages of 128 tokens of real text, a model of 4 blocks (d128, vocabulary 2048), batches of 16, labels from the
data. The plain pass computes the gradient of the sum without per-example gradients, so it is the limit. All cores, wall
clock, on an idle machine. On one thread a single example uses the core as well as a batch does: there, hooks were 1.07
times faster (1.03 to 1.17), with a limit of 1.25.
"""

import os
import time
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from benchmarks.forgetting import _session
from benchmarks.ratios import ratio_with_interval

PASSAGES, BATCH, REPEATS = 128, 16, 7


def _plain(model: Any, passages: Any) -> None:
    """One backward pass for the gradient of a batch's log-likelihood."""
    from ontogeny.models import fisher

    targets = fisher.Targets("data", 0)
    for start in range(0, len(passages), BATCH):
        fisher.log_likelihood(model, passages[start : start + BATCH], targets, start).backward()
        model.zero_grad(set_to_none=True)


def main() -> dict[str, Any]:
    """All figures."""
    from ontogeny.models import fisher

    session, prepared = _session()
    model, passages = session.model.eval(), [p for p in prepared.examples if len(p) == 128][:PASSAGES]
    targets = fisher.Targets("data", 0)
    ways = {
        "hooks": lambda: fisher.diagonal_fisher(model, passages, labels="data", batch=BATCH),
        "one by one": lambda: fisher.one_by_one(model, passages, targets, 0),
        "plain": lambda: _plain(model, passages),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    by_hooks, by_definition = ways["hooks"](), ways["one by one"]()
    difference = max(
        float((by_hooks.values[name] * len(passages) - squares).norm() / squares.norm())
        for name, squares in by_definition.items()
    )
    return {
        "Fisher diagonal by hooks: times faster than one backward pass per example": {
            "asked": {"at least": 1.2},
            **ratio_with_interval(seconds["one by one"], seconds["hooks"]),
            "largest relative difference of a tensor (asked: 1e-5)": difference,
        },
        "the limit: one plain backward pass per batch, times faster than one per example": ratio_with_interval(
            seconds["one by one"], seconds["plain"]
        ),
    }
