"""Section: what was lost of earlier knowledge, what is retained of trained batches, and what controls decided."""

from ontogeny.report.analyses import verdicts
from ontogeny.report.section import Section, SectionContent
from ontogeny.store.run_group import RunGroup


def _content(runs: RunGroup) -> SectionContent | None:
    shown = verdicts(runs, "forgetting")
    return SectionContent(html=shown) if shown else None


SECTION = Section(
    title="Forgetting",
    order=50,
    lead="What the model knew before training and what it knows now, on the same items; what is retained of the "
    "batches that it was trained on; what was decided on the way.",
    content=_content,
)
