"""The page of an audit, or of a post-mortem told twice: one HTML file without scripts or network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.core.contracts import Clear, Finding, NotAssessable, Verdict
from ontogeny.core.version import __version__
from ontogeny.diagnosis.examine import SEVERITIES
from ontogeny.report.findings_text import AUDIT_DOCS, number
from ontogeny.report.sparkline import svg
from ontogeny.report.theme import DARK, LIGHT, css_variables
from ontogeny.store.history import Series


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One training: what its log showed, and the verdicts on it."""

    verdicts: tuple[Verdict, ...]
    title: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """The log as it was printed."""
    series: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    """(name, steps, values)."""
    mishaps: tuple[str, ...] = ()
    """Errors of the audit's own."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What stands on the page."""

    title: str
    parts: tuple[Beside, ...]
    about: str = ""
    concluded: tuple[str, ...] = ()
    """What the author of the first log made of it."""
    was_so: str = ""


def render(page: Page, titles: Mapping[str, str]) -> str:
    """The page as text; `titles` of the checks by id. All that comes from outside is escaped."""
    import jinja2
    from markupsafe import Markup

    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("audit_page.html.j2").render(
        version=__version__,
        page=page,
        parts=[_part(one, titles) for one in page.parts],
        light=Markup(css_variables(LIGHT)),
        dark=Markup(css_variables(DARK)),
        css=Markup((folder / "page.css").read_text(encoding="utf-8")),
        card=Markup((folder / "card.css").read_text(encoding="utf-8")),
    )


def _part(one: Beside, titles: Mapping[str, str]) -> dict[str, Any]:
    from markupsafe import Markup

    found = [verdict for verdict in one.verdicts if isinstance(verdict, Finding)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    counts = {severity: sum(finding.severity == severity for finding in found) for severity in SEVERITIES}
    said = [f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts.items() if count]
    return {
        "title": one.title,
        "columns": one.columns,
        "rows": one.rows,
        "plots": [(name, Markup(svg(_series(name, steps, values)))) for name, steps, values in one.series],
        "verdict": ", ".join(said) if said else "nothing found",
        "findings": [_card(finding, titles) for finding in found],
        "cleared": [titles.get(v.rule, v.rule) for v in one.verdicts if isinstance(v, Clear)],
        "lacking": [(titles.get(v.rule, v.rule), v.lacks) for v in one.verdicts if isinstance(v, NotAssessable)],
        "mishaps": one.mishaps,
    }


def _card(finding: Finding, titles: Mapping[str, str]) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "certainty": finding.certainty,
        "kind": "Check",
        "rule": finding.rule,
        "page": AUDIT_DOCS.format(check=finding.rule),
        "title": titles.get(finding.rule, finding.rule),
        "statement": finding.statement[:1].upper() + finding.statement[1:],
        "numbers": [(name.replace("_", " "), number(value)) for name, value in finding.numbers.items()],
        "threshold": finding.threshold,
        "otherwise": finding.otherwise,
        "refuted": finding.refuted_by,
        "remedy": finding.remedy,
    }


def _series(name: str, steps: tuple[float, ...], values: tuple[float, ...]) -> Series:
    nowhere = np.full(len(steps), np.nan)
    return Series(
        name=name,
        scope="train",
        label=name,
        steps=np.array(steps, dtype=np.int64),
        values=np.array(values),
        rows=np.arange(1, len(steps) + 1),
        epochs=nowhere,
        times_unix_s=nowhere,
    )
