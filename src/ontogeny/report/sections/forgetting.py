"""Section: what was lost of earlier knowledge."""

from ontogeny.report.section import Section

SECTION = Section(
    title="Forgetting",
    order=50,
    lead="What the model knew before training and what it knows now, on the same items; the analyses follow below.",
)
