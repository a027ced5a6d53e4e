"""Generated texts: variety, repetition, and whether they end."""

from typing import TYPE_CHECKING

from ontogeny.report.charts import Axis, interval_note, trajectory
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from altair.typing import ChartType

DECODINGS = {"": "greedy", "sampled_": "sampled"}


def variety(runs: RunGroup) -> Figure | None:
    """Share of distinct bigrams in generated text."""
    question = "Distinct bigrams divided by all bigrams of the generated texts."
    return _drawn(runs, "distinct_2", "Variety", question=question, order=10)


def repetition(runs: RunGroup) -> Figure | None:
    """Share of 4-grams that repeat an earlier one."""
    question = "Share of 4-grams that occurred before in the same text."
    return _drawn(runs, "repetition_4gram", "Repetition", question=question, order=20)


def ending(runs: RunGroup) -> Figure | None:
    """Share of texts that the model ended by itself."""
    question = "Share of texts that the model ended by itself before the limit of its length."
    return _drawn(runs, "share_ended", "Endings", question=question, order=30)


def _drawn(runs: RunGroup, name: str, title: str, *, question: str, order: float) -> Figure | None:
    """One panel per way of decoding; the caption gives the value of the true continuations."""
    charts: dict[str, ChartType] = {}
    for prefix, decoding in DECODINGS.items():
        metric = f"generation/{prefix}{name}"
        if runs.scalars(metric)["value"].nunique(dropna=False) < 2:
            continue
        chart = trajectory(runs, metric, Axis("", ".1%"))
        if isinstance(chart, dict):
            charts |= {f"{decoding}, {scope}": panel for scope, panel in chart.items()}
        elif chart is not None:
            charts[decoding] = chart
    if not charts:
        return None
    drawn = {title.partition(",")[0] for title in charts}
    return Figure(
        title=title,
        caption=" ".join(part for part in (question, _reference(runs, name), interval_note(runs, "")) if part),
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
