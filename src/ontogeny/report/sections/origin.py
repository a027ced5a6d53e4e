"""Section: what ran, on what, with which versions."""

from ontogeny.report.origin import provenance_groups, provenance_json
from ontogeny.report.rendering import render_template
from ontogeny.report.section import Section, SectionContent
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent:
    origins = [
        {
            "name": run.name,
            "groups": provenance_groups(run),
            "recipe": run.recipe_yaml,
            "provenance": provenance_json(run),
        }
        for run in runs.runs
    ]
    return SectionContent(html=render_template("provenance.html.j2", origins=origins))


SECTION = Section(title="Origin", order=120, content=_content)
