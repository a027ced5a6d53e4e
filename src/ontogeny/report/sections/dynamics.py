"""Section: the verdicts of all analyses, beside figures of memorization and of the layers' compression."""

from ontogeny.report.analyses import in_order, over_runs
from ontogeny.report.rendering import render_template
from ontogeny.report.section import Section, SectionContent
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    """Analyses over the runs, then those of each run."""
    analyses = over_runs(runs)
    for run in runs.runs:
        name = run.name if len(runs.runs) > 1 else ""
        analyses += [{**result, "kind": kind, "run": name} for kind, result in in_order(run.analyses)]
    return SectionContent(html=render_template("analyses.html.j2", analyses=analyses)) if analyses else None


SECTION = Section(
    title="Memorization and the layers",
    order=60,
    lead="What the layers' compression does while passages are memorized, and whether it can be told from chance.",
    content=_content,
)
