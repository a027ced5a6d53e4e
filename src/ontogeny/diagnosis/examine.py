"""Hold a log against every rule."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ontogeny.core.contracts import Clear, Finding, NotAssessable, Severity, Verdict
from ontogeny.diagnosis.objective import Objective, objective_of
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, Rule, all_rules
from ontogeny.diagnosis.view import View, views_of
from ontogeny.store.history import History

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""
MOST_LINES = 64
"""Lines of training of one log that are examined."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What all rules say of one log."""

    history: History
    objective: Objective
    why_objective: str
    verdicts: tuple[Verdict, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings, the worst first, then in the order of the rules."""
        found = [one for one in self.verdicts if isinstance(one, Finding)]
        return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))

    def at_or_above(self, severity: Severity) -> bool:
        """Is there a finding at least that bad?"""
        worst = SEVERITIES.index(severity)
        return any(SEVERITIES.index(one.severity) <= worst for one in self.findings)


def examine(history: History, rules: Sequence[Rule] | None = None) -> Examination:
    """Hold a log against all rules, or against some. Pure: the same log gives the same verdicts.

    Every rule answers for every line of training; of a rule's answers that found nothing, one is kept. A log without a
    curve gives no verdicts: `history.nothing` says why.
    """
    objective, why = objective_of(history)
    views = views_of(history, objective)[:MOST_LINES]
    verdicts: list[Verdict] = []
    with np.errstate(all="ignore"):
        for one in all_rules() if rules is None else rules:
            verdicts += _merged([verdict for view in views for verdict in _verdicts(one, view)])
    return Examination(history=history, objective=objective, why_objective=why, verdicts=tuple(verdicts))


def _verdicts(rule: Rule, view: View) -> Iterable[Verdict]:
    segment = view.segments[-1].index if view.segments else 0
    if view.objective not in rule.objectives:
        holds = " or ".join(sorted(one.value for one in rule.objectives))
        yield NotAssessable(
            rule=rule.id, lacks=f"an objective it holds for ({holds}): this is {view.objective.value}", segment=segment
        )
        return
    outcome = rule.check(view)
    several: Iterable[Any] = (outcome,) if isinstance(outcome, Found | Nothing | Lacks) else tuple(outcome)
    if not several:
        yield Clear(rule=rule.id, numbers={}, segment=segment)
    for one in several:
        yield _verdict(rule, one, segment)


def _verdict(rule: Rule, outcome: Found | Nothing | Lacks, segment: int) -> Verdict:
    if isinstance(outcome, Lacks):
        return NotAssessable(rule=rule.id, lacks=outcome.what, segment=segment)
    if isinstance(outcome, Nothing):
        return Clear(rule=rule.id, numbers=outcome.numbers, segment=segment)
    return Finding(
        rule=rule.id,
        severity=outcome.severity,
        statement=outcome.statement,
        numbers=outcome.numbers,
        threshold=rule.threshold,
        certainty=outcome.certainty,
        otherwise=outcome.otherwise or rule.otherwise,
        refuted_by=rule.refuted_by,
        remedy=outcome.remedy or rule.remedy,
        evidence=outcome.evidence,
        segment=segment,
    )


def _merged(verdicts: list[Verdict]) -> list[Verdict]:
    """All findings; without one, a `clear` if there is one, else the first `not assessable`."""
    findings: list[Verdict] = [one for one in verdicts if isinstance(one, Finding)]
    if findings:
        return findings
    clear: list[Verdict] = [one for one in verdicts if isinstance(one, Clear)]
    return clear[:1] or verdicts[:1]


def as_json(verdict: Verdict) -> Mapping[str, Any]:
    """A verdict as plain values; what is not a finite number becomes text."""
    return _plain({"verdict": verdict.verdict, **asdict(verdict)})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
