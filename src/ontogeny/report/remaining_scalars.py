"""Scalars that no figure draws, one small chart each, so that a new measure appears on the page without more work."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ontogeny.report.charts import Axis, interval_note, trajectory
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    from altair.typing import ChartType

MOST = 24
COMPANIONS = ("_se", "_low", "_high")
"""Endings of metrics that are the interval of another."""


def remaining_scalars(runs: RunGroup, figures: Iterable[Figure]) -> Figure | None:
    """The scalars of measures that none of these figures draws, at most MOST of them; None if all are drawn."""
    drawn = {run.name_of(name) for figure in figures for name in figure.metrics for run in runs.runs}
    known = set(runs.metric_names)
    names = [name for name in runs.metric_names if "/" in name and name not in drawn and not _is_companion(name, known)]
    charts: dict[str, ChartType] = {}
    constant: list[str] = []
    for name in names:
        values = runs.scalars(name, literal=True)
        values = values[values["scope"] != "timing"]
        if values["value"].nunique(dropna=False) == 1:
            constant.append(f"{name} = {values['value'].iloc[0]:.6g}")
            continue
        chart = trajectory(runs, name, Axis("", ".4g"), set(values["scope"]), literal=True)
        if isinstance(chart, dict):
            charts |= {f"{name}, {scope}": panel for scope, panel in chart.items()}
        elif chart is not None:
            charts[name] = chart
    if not charts:
        return None
    shown = dict(list(charts.items())[:MOST])
    notes = [
        "Scalars of measures that have no figure of their own.",
        interval_note(runs, "95% intervals as the measure gives them, where it does"),
    ]
    notes += [f"{len(charts) - MOST} more are in summary.csv."] if len(charts) > MOST else []
    notes += [f"The same at every checkpoint and on every set: {', '.join(constant)}."] if constant else []
    return Figure(title="By measure", caption=" ".join(filter(None, notes)), chart=shown, section="more", order=90)


def _is_companion(name: str, known: set[str]) -> bool:
    return any(name.endswith(ending) and name.removesuffix(ending) in known for ending in COMPANIONS)
