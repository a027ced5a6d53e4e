"""What the model writes: variety, repetition, and whether it ends."""

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import Axis, interval_note, trajectory
from ontogeny.report.gather import RunGroup


def variety(runs: RunGroup) -> Figure | None:
    """Share of distinct bigrams in generated text."""
    asked = "Distinct bigrams divided by all bigrams of the generated texts."
    return _drawn(runs, "generation/distinct_2", "Variety", "distinct-2", asked=asked, order=10)


def repetition(runs: RunGroup) -> Figure | None:
    """Share of 4-grams that repeat an earlier one."""
    asked = "Share of 4-grams that occurred before in the same text."
    return _drawn(runs, "generation/repetition_4gram", "Repetition", "repeated 4-grams", asked=asked, order=20)


def _drawn(runs: RunGroup, metric: str, title: str, y: str, *, asked: str, order: float) -> Figure | None:
    chart = trajectory(runs, metric, Axis(y))
    if chart is None:
        return None
    caption = f"{asked} {interval_note(runs, '')}".strip()
    return Figure(title=title, caption=caption, chart=chart, section="generation", order=order, metrics=(metric,))
