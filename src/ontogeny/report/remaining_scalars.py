"""Scalars that no figure draws, one small chart each: a new measure shows up without any work."""

from collections.abc import Iterable
from typing import Any

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import Axis, interval_note, trajectory
from ontogeny.store.run_group import RunGroup

MOST = 24
COMPANIONS = ("_se", "_low", "_high")


def remaining(runs: RunGroup, figures: Iterable[Figure]) -> Figure | None:
    """Whatever measures recorded as scalars and no figure draws, at most MOST of them."""
    drawn = {run.name_of(name) for figure in figures for name in figure.metrics for run in runs.runs}
    known = set(runs.metric_names)
    names = [name for name in runs.metric_names if "/" in name and name not in drawn and not _is_companion(name, known)]
    charts: dict[str, Any] = {}
    constant: list[str] = []
    for name in names:
        values = runs.scalars(name, literal=True)
        values = values[values["scope"] != "timing"]
        if values["value"].nunique(dropna=False) == 1:
            constant.append(f"{name} = {values['value'].iloc[0]:.6g}")
            continue
        chart = trajectory(runs, name, Axis("", ".4g"), set(values["scope"]), literal=True)
        if isinstance(chart, dict):
            charts |= {f"{name}, {scope}": one for scope, one in chart.items()}
        elif chart is not None:
            charts[name] = chart
    if not charts:
        return None
    shown = dict(list(charts.items())[:MOST])
    notes = ["Scalars of measures that have no figure of their own.", interval_note(runs, "95% intervals")]
    notes += [f"{len(charts) - MOST} more are in summary.csv."] if len(charts) > MOST else []
    notes += [f"The same at every checkpoint and on every set: {', '.join(constant)}."] if constant else []
    return Figure(title="By measure", caption=" ".join(filter(None, notes)), chart=shown, section="more", order=90)


def _is_companion(name: str, known: set[str]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in known for end in COMPANIONS)
