"""Histories written down by hand, for tests."""

from collections.abc import Sequence
from typing import Any

from ontogeny.core.verdicts import Clear, Finding, NotAssessable, Verdict
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rule import Rule
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


def verdict(rule: Rule, log: History) -> Verdict:
    """What one rule says of a log: its first finding, or its one answer."""
    return examine(log, [rule]).verdicts[0]


def found(rule: Rule, log: History) -> Finding:
    """The rule's finding. Fails if it found nothing."""
    answer = verdict(rule, log)
    assert isinstance(answer, Finding), answer
    return answer


def is_clear(rule: Rule, log: History) -> bool:
    """Did the rule look, and find nothing?"""
    return isinstance(verdict(rule, log), Clear)


def lacks(rule: Rule, log: History) -> str:
    """What the rule lacks. Fails if it judged."""
    answer = verdict(rule, log)
    assert isinstance(answer, NotAssessable), answer
    return answer.lacks
