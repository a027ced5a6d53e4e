"""Section: losses, the steps that lowered them, and what a step does at each learning rate."""

from markupsafe import Markup

from ontogeny.report.analyses import verdicts
from ontogeny.report.landscape_answers import landscape_answers
from ontogeny.report.rendering import render_template
from ontogeny.report.section import Recorded, Section, SectionContent
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    answers = landscape_answers(runs)
    parts = [render_template("landscape.html.j2", answers=answers)] if answers else []
    if shown := verdicts(runs, "curves"):
        parts.append(shown)
    return SectionContent(html=Markup("").join(parts)) if parts else None


SECTION = Section(
    title="Curves",
    order=30,
    needs=(Recorded(measure="evaluation", otherwise="The loss of the probe sets was not recorded."),),
    content=_content,
)
