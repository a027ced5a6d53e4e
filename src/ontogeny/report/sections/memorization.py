"""Section: what comes out verbatim."""

from ontogeny.report.section import Recorded, Section

SECTION = Section(
    title="Memorization",
    order=40,
    needs=(Recorded(measure="extraction", otherwise="Verbatim memorization was not recorded."),),
)
