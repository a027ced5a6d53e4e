"""Apply every rule to a log."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import JsonValue

from ontogeny.core.verdicts import SEVERITIES, Clear, Finding, NotAssessable, Severity, Verdict
from ontogeny.diagnosis.objective import ObjectiveKind, objective_of
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, Outcome, Rule, all_rules
from ontogeny.diagnosis.view import View, views_of
from ontogeny.store.history import History

MOST_LINES = 64
"""Most lines of training (runs with their resumptions) of one log that are examined."""


@dataclass(frozen=True, kw_only=True)
class Examination:
    """The verdicts of all rules on one log."""

    history: History
    objective: ObjectiveKind
    why_objective: str
    verdicts: tuple[Verdict, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings, worst first, then in the order of the rules."""
        findings = [verdict for verdict in self.verdicts if isinstance(verdict, Finding)]
        return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))

    def at_or_above(self, severity: Severity) -> bool:
        """Is there a finding at least that bad?"""
        limit = SEVERITIES.index(severity)
        return any(SEVERITIES.index(finding.severity) <= limit for finding in self.findings)


def examine(history: History, rules: Sequence[Rule] | None = None) -> Examination:
    """Apply all rules, or the given ones, to a log. Pure: the same log gives the same verdicts.

    Every rule judges every line of training. A rule without any finding keeps one verdict. A log without a curve gives
    no verdicts: `history.nothing` says why.
    """
    objective, why = objective_of(history)
    views = views_of(history, objective)[:MOST_LINES]
    verdicts: list[Verdict] = []
    with np.errstate(all="ignore"):
        for rule in all_rules() if rules is None else rules:
            verdicts += _merged([verdict for view in views for verdict in _verdicts(rule, view)])
    return Examination(history=history, objective=objective, why_objective=why, verdicts=tuple(verdicts))


def _verdicts(rule: Rule, view: View) -> Iterable[Verdict]:
    segment = view.segments[-1].index if view.segments else 0
    if view.objective not in rule.objectives:
        kinds = " or ".join(sorted(kind.value for kind in rule.objectives))
        lacks = f"an objective that the rule applies to ({kinds}): this is {view.objective.value}"
        yield NotAssessable(rule=rule.id, lacks=lacks, segment=segment)
        return
    result = rule.check(view)
    outcomes: tuple[Outcome, ...] = (result,) if isinstance(result, Detection | Nothing | Lacks) else tuple(result)
    if not outcomes:
        yield Clear(rule=rule.id, numbers={}, segment=segment)
    for outcome in outcomes:
        yield _verdict(rule, outcome, segment)


def _verdict(rule: Rule, outcome: Outcome, segment: int) -> Verdict:
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
    """All findings; without any, a `clear` if there is one, else the first `not assessable`."""
    findings: list[Verdict] = [verdict for verdict in verdicts if isinstance(verdict, Finding)]
    if findings:
        return findings
    clear: list[Verdict] = [verdict for verdict in verdicts if isinstance(verdict, Clear)]
    return clear[:1] or verdicts[:1]


def as_json(verdict: Verdict) -> dict[str, JsonValue]:
    """A verdict as plain JSON values; NaN and infinities become text."""
    return {"verdict": verdict.verdict, **{key: _plain(value) for key, value in asdict(verdict).items()}}


def _plain(value: object) -> JsonValue:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    assert value is None or isinstance(value, str | int | float | bool), f"no JSON value: {value!r}"
    return value
