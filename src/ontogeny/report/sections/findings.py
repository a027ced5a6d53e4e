"""Section: verdicts of the last diagnosis, the most severe first."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ontogeny.core.verdicts import SEVERITIES
from ontogeny.report.findings_text import number, numbers_in_words
from ontogeny.report.rendering import render_template
from ontogeny.report.section import Section, SectionContent
from ontogeny.store.run_group import RunGroup

MOST_POINTS = 6
"""Points of a series that the page lists as evidence."""


def _content(runs: RunGroup) -> SectionContent | None:
    verdicts = [(run.name if len(runs.runs) > 1 else "", verdict) for run in runs.runs for verdict in run.findings]
    if not verdicts:
        return None
    findings = [_card(name, verdict) for name, verdict in verdicts if verdict.get("verdict") == "finding"]
    findings.sort(key=lambda card: _rank(card["severity"]))
    counts = Counter(verdict.get("verdict") for _, verdict in verdicts)
    others = [("clear", "were clear"), ("not assessable", "could not be assessed")]
    over = f" over {len(runs.runs)} runs" if len(runs.runs) > 1 else ""
    words = " and ".join(f"{counts[verdict]} rules {what}{over}" for verdict, what in others if counts[verdict])
    return SectionContent(html=render_template("findings.html.j2", findings=findings, others=words and f"{words}."))


def _rank(severity: str) -> int:
    """Place among severities; those of a later version come last."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def _card(run: str, finding: Mapping[str, Any]) -> dict[str, Any]:
    """A stored finding (see `core.verdicts.Finding`) for the template."""
    statement = str(finding.get("statement", ""))
    return {
        "run": run,
        "severity": finding["severity"],
        "statement": statement[:1].upper() + statement[1:],
        "numbers": numbers_in_words(finding.get("numbers", {})),
        "rows": [_points(evidence) for evidence in finding.get("evidence", ())],
        **{
            key: finding.get(key, "") for key in ("rule", "certainty", "remedy", "otherwise", "refuted_by", "threshold")
        },
    }


def _points(evidence: Mapping[str, Any]) -> str:
    points = list(zip(evidence["steps"], evidence["values"], strict=True))[:MOST_POINTS]
    return f"{evidence['label']}: " + ", ".join(f"{number(value)} at step {step:,}" for step, value in points)


SECTION = Section(title="Findings", order=10, content=_content)
