"""A finding as pages show it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict

from ontogeny.core.verdicts import SEVERITIES, Finding, Severity
from ontogeny.report.findings_text import AUDIT_DOCS, DOCS, numbers_in_words

if TYPE_CHECKING:
    from markupsafe import Markup


class FindingCard(TypedDict):
    """What `finding_card.html.j2` shows."""

    severity: Severity
    certainty: str
    kind: Literal["Rule", "Check"]
    rule: str
    page: str
    """Where the rule or check is described."""
    title: str
    statement: str
    numbers: list[tuple[str, str]]
    threshold: str
    otherwise: str
    refuted_by: str
    remedy: str
    plot: "Markup | str"
    """A picture of the series with the evidence marked; empty without one."""
    label: str
    """What the log calls that series."""
    rows: Sequence[str]
    """The evidence, line by line."""


def card_of(
    finding: Finding,
    title: str,
    kind: Literal["Rule", "Check"],
    plot: "Markup | str" = "",
    label: str = "",
    rows: Sequence[str] = (),
) -> FindingCard:
    """The card of a diagnosis's rule or of an audit's check."""
    return FindingCard(
        severity=finding.severity,
        certainty=finding.certainty,
        kind=kind,
        rule=finding.rule,
        page=DOCS.format(rule=finding.rule) if kind == "Rule" else AUDIT_DOCS.format(check=finding.rule),
        title=title,
        statement=finding.statement[:1].upper() + finding.statement[1:],
        numbers=numbers_in_words(finding.numbers),
        threshold=finding.threshold,
        otherwise=finding.otherwise,
        refuted_by=finding.refuted_by,
        remedy=finding.remedy,
        plot=plot,
        label=label,
        rows=rows,
    )


def counted(findings: Iterable[Finding]) -> str:
    """1 error, 2 warnings; or "nothing found"."""
    counts = Counter(finding.severity for finding in findings)
    words = [
        f"{counts[severity]} {severity}{'s' * (counts[severity] > 1)}" for severity in SEVERITIES if counts[severity]
    ]
    return ", ".join(words) or "nothing found"
