"""Section: where the time went."""

from ontogeny.report.section import Section

SECTION = Section(title="Time", order=100)
