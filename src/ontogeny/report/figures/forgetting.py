"""What was known before, document by document."""

import altair as alt
import pandas as pd

from ontogeny.analyses.recorded.items import losses_of, tasks_of
from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import HEIGHT, rounded, step_axis
from ontogeny.store.run_group import RunGroup, RunView

MOST_POINTS = 1500
"""Of a panel: with more, so many documents are drawn as fit, evenly spaced."""


def since_the_start(runs: RunGroup) -> Figure | None:
    """Change of each probe set's loss and tasks since before training: documents as points, mean and interval."""
    panels = {}
    for run in runs.runs:
        sets = run.analyses.get("forgetting", {}).get("numbers", {}).get("sets", {})
        if not sets:
            continue
        points = _documents(run)
        for name, one in sets.items():
            mean = pd.DataFrame({"step": one["step"], **one["change"], "of": "mean"})
            frame = pd.concat([mean, points.get(name, pd.DataFrame())], ignore_index=True)
            base = alt.Chart().encode(step_axis(runs))
            unit = alt.Y("value:Q", title=f"{one['unit']}, since the first checkpoint", scale=alt.Scale(zero=True))
            raw = base.transform_filter("datum.of == 'document'").mark_circle(size=14, opacity=0.5).encode(unit)
            ends = base.transform_filter("datum.of == 'mean' && isValid(datum.low)")
            band = ends.mark_area().encode(alt.Y("low:Q"), alt.Y2("high:Q"))
            line = base.transform_filter("datum.of == 'mean'").mark_line(point=True)
            line = line.encode(unit, tooltip=["step:Q", "value:Q", "low:Q", "high:Q"])
            zero = alt.Chart().mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(y=alt.datum(0))
            title = name if len(runs.runs) == 1 else f"{run.name}, {name}"
            chart = alt.layer(zero, band, raw, line, data=rounded(frame, 4))
            panels[title] = chart.properties(height=HEIGHT)
    if not panels:
        return None
    return Figure(
        title="Since before training",
        caption="Each point is a document: its number now minus that at the first checkpoint, the same passages, words "
        "and endings. Line: their mean, weighted by tokens or items; band: 95% t interval over documents. A loss above "
        "zero was forgotten, an accuracy below it.",
        chart=panels,
        section="forgetting",
        order=10,
    )


def _documents(run: RunView) -> dict[str, pd.DataFrame]:
    """Changes of single documents by name of the number; none where only means are known."""
    found = {}
    for one in (*losses_of(run), *tasks_of(run)):
        if not one.items:
            continue
        kept = max(1, MOST_POINTS // len(one.step))
        chosen = range(0, one.documents, max(1, -(-one.documents // kept)))
        apart = (one.total - one.total[0]) / one.weight
        rows = [
            {"step": step, "value": row[i], "of": "document"}
            for step, row in zip(one.step, apart, strict=True)
            for i in chosen
        ]
        found[one.name] = pd.DataFrame(rows)
    return found
