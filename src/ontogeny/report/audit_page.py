"""The page of an audit, or of a post-mortem told twice: one HTML file without scripts or network."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ontogeny.core.verdicts import SEVERITIES, Clear, Finding, NotAssessable, Verdict
from ontogeny.report.finding_card import card_of, counted
from ontogeny.report.rendering import render_page, static
from ontogeny.report.sparkline import svg
from ontogeny.store.history import Series


@dataclass(frozen=True, kw_only=True)
class AuditedTraining:
    """One training: its log, and the verdicts on it."""

    verdicts: tuple[Verdict, ...]
    title: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """The log as it was printed."""
    series: tuple[tuple[str, tuple[float, ...], tuple[float, ...]], ...] = ()
    """(name, steps, values)."""
    mishaps: tuple[str, ...] = ()
    """Errors of the audit itself."""


@dataclass(frozen=True, kw_only=True)
class AuditPage:
    """What stands on the page."""

    title: str
    trainings: tuple[AuditedTraining, ...]
    about: str = ""
    concluded: tuple[str, ...] = ()
    """What the author of the first log concluded from it."""
    was_so: str = ""
    """What the cause really was; empty outside a post-mortem."""
    table: tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...]] | None = None
    """What trainings are compared by, of a post-mortem with more than two: title, columns, rows."""


def render(page: AuditPage, titles: Mapping[str, str]) -> str:
    """The page as text; `titles` of the checks by id."""
    trainings = [_training(training, titles) for training in page.trainings]
    return render_page("audit_page.html.j2", page=page, trainings=trainings, card=static("card.css"))


def _training(training: AuditedTraining, titles: Mapping[str, str]) -> dict[str, object]:
    from markupsafe import Markup

    findings = [verdict for verdict in training.verdicts if isinstance(verdict, Finding)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return {
        "title": training.title,
        "columns": training.columns,
        "rows": training.rows,
        "plots": [(name, Markup(svg(_series(name, steps, values)))) for name, steps, values in training.series],
        "verdict": counted(findings),
        "findings": [card_of(finding, titles.get(finding.rule, finding.rule), "Check") for finding in findings],
        "cleared": [titles.get(v.rule, v.rule) for v in training.verdicts if isinstance(v, Clear)],
        "lacking": [(titles.get(v.rule, v.rule), v.lacks) for v in training.verdicts if isinstance(v, NotAssessable)],
        "mishaps": training.mishaps,
    }


def _series(name: str, steps: tuple[float, ...], values: tuple[float, ...]) -> Series:
    unknown = np.full(len(steps), np.nan)
    return Series(
        name=name,
        scope="train",
        label=name,
        steps=np.array(steps, dtype=np.int64),
        values=np.array(values),
        rows=np.arange(1, len(steps) + 1),
        epochs=unknown,
        times_unix_s=unknown,
    )
