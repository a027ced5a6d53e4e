"""Section: tasks made from held-out text."""

from ontogeny.report.section import Recorded, Section

SECTION = Section(
    title="Tasks",
    order=70,
    lead="Made from the probe sets; captions give the question and the accuracy of chance.",
    needs=(
        Recorded(measure="cloze", otherwise="Accuracy on last words was not recorded."),
        Recorded(measure="continuation", otherwise="Accuracy on continuations was not recorded."),
    ),
)
