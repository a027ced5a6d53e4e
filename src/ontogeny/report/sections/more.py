"""Section: scalars that have no figure of their own (see `report.remaining_scalars`)."""

from ontogeny.report.section import Section

SECTION = Section(title="More numbers", order=110)
