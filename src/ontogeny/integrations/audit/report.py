"""What all checks say of a recording."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ontogeny.core.verdicts import SEVERITIES, Clear, Finding, NotAssessable, Severity, Verdict
from ontogeny.diagnosis.examine import as_json
from ontogeny.diagnosis.rule import Detection, Lacks
from ontogeny.integrations.audit.check import Check
from ontogeny.integrations.audit.recording import Recording
from ontogeny.store import durable, schema


@dataclass(frozen=True, kw_only=True)
class Report:
    """One verdict per check."""

    verdicts: tuple[Verdict, ...]
    mishaps: tuple[str, ...] = ()
    """Errors of the audit's own; the run went on."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The worst first."""
        found = [one for one in self.verdicts if isinstance(one, Finding)]
        return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))

    def at_or_above(self, severity: Severity) -> bool:
        """Is there a finding at least that bad?"""
        return any(SEVERITIES.index(one.severity) <= SEVERITIES.index(severity) for one in self.findings)


def keep(report: Report, run: Path) -> None:
    """Write the verdicts into a run directory, where its page shows them. Raises StoreError if it cannot."""
    durable.write_json(run / schema.AUDIT, {schema.VERDICTS: [as_json(verdict) for verdict in report.verdicts]})


def judge(checks: Sequence[Check], recording: Recording) -> Report:
    """Hold a recording against checks. A check that fails is not assessable, and says with what."""
    return Report(verdicts=tuple(_judged(one, recording) for one in checks), mishaps=tuple(recording.mishaps))


def _judged(one: Check, recording: Recording) -> Verdict:
    try:
        outcome = one.judge(recording)
    except Exception as error:  # noqa: BLE001 - the audited run goes on whatever happens in here
        return NotAssessable(rule=one.id, lacks=f"a recording that it can read ({type(error).__name__}: {error})")
    if isinstance(outcome, Lacks):
        return NotAssessable(rule=one.id, lacks=outcome.what)
    if not isinstance(outcome, Detection):
        return Clear(rule=one.id, numbers=outcome.numbers)
    return Finding(
        rule=one.id,
        severity=outcome.severity,
        statement=outcome.statement,
        numbers=outcome.numbers,
        threshold=one.threshold,
        certainty=outcome.certainty,
        otherwise=outcome.otherwise or one.otherwise,
        refuted_by=one.refuted_by,
        remedy=outcome.remedy or one.remedy,
        evidence=outcome.evidence,
    )
