"""Section: the verdicts of analyses of memorization and of the layers' compression, beside their figures."""

from ontogeny.report.analyses import verdicts
from ontogeny.report.section import Section, SectionContent
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    shown = verdicts(runs, "dynamics")
    return SectionContent(html=shown) if shown else None


SECTION = Section(
    title="Memorization and the layers",
    order=60,
    lead="What the layers' compression does while passages are memorized, and whether it can be told from chance.",
    content=_content,
)
