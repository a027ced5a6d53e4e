"""An audit in words."""

from typing import Any

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.integrations.audit.report import Report
from ontogeny.report.findings_text import AUDIT_DOCS


def terminal(report: Report, *, verbose: bool = False, more: str = "-v") -> str:
    """The whole audit as text: findings first, what was clear and what could not be judged below.

    `more`: what the reader has to say to get the `verbose` text.
    """
    lines = ["audit"]
    for finding in report.findings:
        lines += ["", f"  {finding.severity.upper()}  {_sentence(finding.statement)}"]
        lines += [
            f"      {_sentence(finding.remedy)}",
            f"      {finding.rule} · {finding.certainty} · {AUDIT_DOCS.format(check=finding.rule)}",
        ]
        if verbose:
            numbers = ", ".join(f"{name} {_number(value)}" for name, value in finding.numbers.items())
            lines += [
                f"      numbers: {numbers}",
                f"      threshold: {finding.threshold}",
                f"      else: {finding.otherwise}",
                f"      refuted by: {finding.refuted_by}",
            ]
    if not report.findings:
        lines += ["", "  nothing found"]
    clear = [one.rule for one in report.verdicts if isinstance(one, Clear)]
    lacking = [one for one in report.verdicts if isinstance(one, NotAssessable)]
    lines += ["", f"  {len(clear)} checks clear, {len(lacking)} not assessable"]
    lines[-1] += "" if verbose or not lacking else f"  ({more} says what they need)"
    if verbose:
        lines += [f"    clear: {', '.join(clear)}"]
        lines += [f"    not assessable: {one.rule} needs {one.lacks}" for one in lacking]
    lines += [f"  of the audit itself: {mishap}" for mishap in report.mishaps]
    return "\n".join(lines)


def plain(report: Report) -> dict[str, Any]:
    """The audit as plain values for JSON."""
    return {
        "findings": [
            {
                "check": one.rule,
                "severity": one.severity,
                "statement": one.statement,
                "numbers": dict(one.numbers),
                "certainty": one.certainty,
                "threshold": one.threshold,
                "otherwise": one.otherwise,
                "refuted_by": one.refuted_by,
                "remedy": one.remedy,
                "page": AUDIT_DOCS.format(check=one.rule),
            }
            for one in report.findings
            if isinstance(one, Finding)
        ],
        "clear": [one.rule for one in report.verdicts if isinstance(one, Clear)],
        "not_assessable": {one.rule: one.lacks for one in report.verdicts if isinstance(one, NotAssessable)},
        "mishaps": list(report.mishaps),
    }


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _number(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
