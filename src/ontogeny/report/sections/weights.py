"""Section: weights and gradients, block by block."""

from ontogeny.report.section import Recorded, Section

SECTION = Section(
    title="Weights",
    order=80,
    needs=(
        Recorded(measure="weight_drift", otherwise="How far the weights moved was not recorded."),
        Recorded(measure="gradient_norms", otherwise="Gradient norms by block were not recorded."),
    ),
)
