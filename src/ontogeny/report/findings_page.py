"""The page of a diagnosis: one HTML file without scripts or network, findings first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ontogeny.core.contracts import Clear, Finding, NotAssessable
from ontogeny.core.version import __version__
from ontogeny.diagnosis.examine import Examination
from ontogeny.diagnosis.rule import all_rules
from ontogeny.report.findings_text import number, rows, series_of, tally
from ontogeny.report.sparkline import svg
from ontogeny.report.theme import DARK, LIGHT, css_variables
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
    """The page as text. All that comes from a log is escaped."""
    import jinja2
    from markupsafe import Markup

    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("findings_page.html.j2").render(
        version=__version__,
        title=examinations[0].history.path if len(examinations) == 1 else f"{len(examinations)} logs",
        logs=[_log(one) for one in examinations],
        light=Markup(css_variables(LIGHT)),
        dark=Markup(css_variables(DARK)),
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        card=Markup((folder / "card.css").read_text(encoding="utf-8")),
    )


def _log(examination: Examination) -> dict[str, Any]:
    from markupsafe import Markup

    history = examination.history
    titles = {rule.id: rule.title for rule in all_rules()}
    worst = examination.findings[0].severity if examination.findings else ""
    series = sorted((one for segment in history.segments for one in segment), key=len, reverse=True)
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
        "verdict": _verdict(examination),
        "worst": worst,
        "tally": tally(examination),
        "findings": [_card(examination, one, titles) for one in examination.findings],
        "cleared": [titles.get(v.rule, v.rule) for v in examination.verdicts if isinstance(v, Clear)],
        "lacking": [
            (titles.get(v.rule, v.rule), v.lacks) for v in examination.verdicts if isinstance(v, NotAssessable)
        ],
        "series": [
            {"label": one.label, "name": f"{one.scope}/{one.name}", "points": len(one), "plot": Markup(svg(one))}
            for one in series[:MOST_SERIES]
            if len(one) > 1
        ],
        "more_series": max(len(series) - MOST_SERIES, 0),
    }


def _verdict(examination: Examination) -> str:
    counts = {s: sum(one.severity == s for one in examination.findings) for s in ("error", "warning", "note")}
    said = [f"{n} {word}{'s' * (n > 1)}" for word, n in counts.items() if n]
    return ", ".join(said) if said else "nothing found"


def _card(examination: Examination, finding: Finding, titles: dict[str, str]) -> dict[str, Any]:
    from markupsafe import Markup

    evidence = finding.evidence[0] if finding.evidence else None
    series = series_of(examination, evidence, finding.segment) if evidence else None
    return {
        "severity": finding.severity,
        "title": titles.get(finding.rule, finding.rule),
        "kind": "Rule",
        "rule": finding.rule,
        "page": f"docs/findings/{finding.rule}.md",
        "certainty": finding.certainty,
        "statement": finding.statement[:1].upper() + finding.statement[1:],
        "plot": Markup(svg(series, evidence.steps)) if series is not None and evidence is not None else "",
        "label": series.label if series is not None else "",
        "numbers": [(name.replace("_", " "), number(value)) for name, value in finding.numbers.items()],
        "rows": [rows(one, examination.history.row_word) for one in finding.evidence],
        "threshold": finding.threshold,
        "otherwise": finding.otherwise,
        "refuted": finding.refuted_by,
        "remedy": finding.remedy,
    }
