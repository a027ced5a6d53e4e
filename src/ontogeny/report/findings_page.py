"""The page of a diagnosis: one HTML file without scripts or network, findings first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.diagnosis.examine import Examination
from ontogeny.diagnosis.rule import all_rules
from ontogeny.report.finding_card import FindingCard, card_of, counted
from ontogeny.report.findings_text import evidence_in_words, series_of, tally
from ontogeny.report.rendering import render_page, static
from ontogeny.report.sparkline import svg
from ontogeny.store import durable

MOST_SERIES = 24
"""Small pictures of series per log."""


def write_page(examinations: Sequence[Examination], out: Path) -> Path:
    """Write the page of one diagnosis or of several; return its path. Replaced atomically.

    `out`: a file ending in .html, or a directory for diagnosis.html. Raises StoreError if it cannot be written.
    """
    path = out if out.suffix == ".html" else out / "diagnosis.html"
    durable.make_folder(path.parent)
    durable.write_bytes(path, render(examinations).encode())
    return path


def render(examinations: Sequence[Examination]) -> str:
    """The page as text."""
    return render_page(
        "findings_page.html.j2",
        title=examinations[0].history.path if len(examinations) == 1 else f"{len(examinations)} logs",
        logs=[_log(examination) for examination in examinations],
        card=static("card.css"),
    )


def _log(examination: Examination) -> dict[str, object]:
    from markupsafe import Markup

    history = examination.history
    titles = {rule.id: rule.title for rule in all_rules()}
    verdicts = examination.verdicts
    longest_first = sorted((series for segment in history.segments for series in segment), key=len, reverse=True)
    return {
        "path": history.path,
        "form": history.form,
        "nothing": history.nothing,
        "partial": history.partial,
        "notes": history.notes,
        "objective": examination.objective.value,
        "why": examination.why_objective,
        "entries": f"{history.entries:,}",
        "segments": len(history.segments),
        "verdict": counted(examination.findings),
        "tally": tally(examination),
        "findings": [_card(examination, finding, titles) for finding in examination.findings],
        "cleared": [titles.get(v.rule, v.rule) for v in verdicts if isinstance(v, Clear)],
        "lacking": [(titles.get(v.rule, v.rule), v.lacks) for v in verdicts if isinstance(v, NotAssessable)],
        "series": [
            {
                "label": series.label,
                "name": f"{series.scope}/{series.name}",
                "points": len(series),
                "plot": Markup(svg(series)),
            }
            for series in longest_first[:MOST_SERIES]
            if len(series) > 1
        ],
        "more_series": max(len(longest_first) - MOST_SERIES, 0),
    }


def _card(examination: Examination, finding: Finding, titles: Mapping[str, str]) -> FindingCard:
    from markupsafe import Markup

    evidence = finding.evidence[0] if finding.evidence else None
    series = series_of(examination, evidence, finding.segment) if evidence else None
    return card_of(
        finding,
        titles.get(finding.rule, finding.rule),
        "Rule",
        plot=Markup(svg(series, evidence.steps)) if series is not None and evidence is not None else "",
        label=series.label if series is not None else "",
        rows=[evidence_in_words(evidence, examination.history.row_word) for evidence in finding.evidence],
    )
