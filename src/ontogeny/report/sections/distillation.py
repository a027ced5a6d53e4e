"""Section: what a student learns of its teacher, and which terms of the loss pull together."""

from markupsafe import Markup

from ontogeny.report.section import Section, SectionContent
from ontogeny.report.term_weights import resting, taught
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    item = Markup("<li>{}: not optimised at {}.</li>")
    items = [
        item.format(f"{run.name}, {term}" if len(runs.runs) > 1 else term, where)
        for run in taught(runs)
        for term, where in resting(run).items()
    ]
    return SectionContent(html=Markup("<ul>{}</ul>").format(Markup("").join(items))) if items else None


SECTION = Section(
    title="Distillation",
    order=55,
    lead="How far the student agrees with its teacher, what each term of the loss adds, and which work against which.",
    content=_content,
)
