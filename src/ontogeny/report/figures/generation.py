"""What the model writes: variety, repetition, and whether it ends."""

from typing import Any

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import Axis, interval_note, trajectory
from ontogeny.store.run_group import RunGroup

DECODINGS = {"": "greedy", "sampled_": "sampled"}


def variety(runs: RunGroup) -> Figure | None:
    """Share of distinct bigrams in generated text."""
    asked = "Distinct bigrams divided by all bigrams of the generated texts."
    return _drawn(runs, "distinct_2", "Variety", asked=asked, order=10)


def repetition(runs: RunGroup) -> Figure | None:
    """Share of 4-grams that repeat an earlier one."""
    asked = "Share of 4-grams that occurred before in the same text."
    return _drawn(runs, "repetition_4gram", "Repetition", asked=asked, order=20)


def ending(runs: RunGroup) -> Figure | None:
    """Share of texts that the model ended by itself."""
    asked = "Share of texts that the model ended by itself before the limit of its length."
    return _drawn(runs, "share_ended", "Endings", asked=asked, order=30)


def _drawn(runs: RunGroup, name: str, title: str, *, asked: str, order: float) -> Figure | None:
    """One panel per way of decoding; the true continuations stand in the caption."""
    charts: dict[str, Any] = {}
    for prefix, decoding in DECODINGS.items():
        metric = f"generation/{prefix}{name}"
        if runs.scalars(metric)["value"].nunique(dropna=False) < 2:
            continue
        chart = trajectory(runs, metric, Axis("", ".1%"))
        if isinstance(chart, dict):
            charts |= {f"{decoding}, {scope}": one for scope, one in chart.items()}
        elif chart is not None:
            charts[decoding] = chart
    if not charts:
        return None
    drawn = {title.partition(",")[0] for title in charts}
    return Figure(
        title=title,
        caption=" ".join(part for part in (asked, _reference(runs, name), interval_note(runs, "")) if part),
        chart=charts,
        section="generation",
        order=order,
        metrics=(
            *(f"generation/{prefix}{name}" for prefix, mode in DECODINGS.items() if mode in drawn),
            f"generation/reference_{name}",
        ),
    )


def _reference(runs: RunGroup, name: str) -> str:
    """The same number for the true continuations, which do not change."""
    rows = runs.scalars(f"generation/reference_{name}").drop_duplicates("scope")
    listed = [f"{value:.1%} in {scope}" for scope, value in zip(rows["scope"], rows["value"], strict=True)]
    return f"The true continuations: {', '.join(listed)}." if listed else ""
