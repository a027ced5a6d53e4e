"""Section: losses, and the steps that lowered them."""

from ontogeny.report.section import Recorded, Section

SECTION = Section(
    title="Curves",
    order=30,
    needs=(Recorded(measure="evaluation", otherwise="The loss of the probe sets was not recorded."),),
)
