"""Histories written down by hand, for tests."""

from collections.abc import Sequence
from typing import Any

from ontogeny.integrations.importers._builder import Builder
from ontogeny.store.history import History

Curve = tuple[Sequence[int], Sequence[float]]


def history(config: dict[str, Any] | None = None, **curves: Curve) -> History:
    """A log with these curves by the log's own labels (`loss`, `eval_loss`, `grad_norm`, `learning_rate`, …).

    Labels with a slash are written with two underscores: ``rewards__chosen``.
    """
    builder = Builder("by hand", "by hand")
    builder.config.update(config or {})
    by_step: dict[int, dict[str, float]] = {}
    for label, (steps, values) in curves.items():
        for step, value in zip(steps, values, strict=True):
            by_step.setdefault(step, {})[label.replace("__", "/")] = value
    for row, (step, values) in enumerate(sorted(by_step.items()), 1):
        builder.add(row, values, step=step)
    return builder.build()
