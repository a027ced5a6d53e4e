"""What the model knew before training, document by document."""

import altair as alt
import pandas as pd

from ontogeny.analyses.recorded.items import losses_of, tasks_of
from ontogeny.report.charts import HEIGHT, rounded, step_axis
from ontogeny.report.figure import Figure
from ontogeny.report.stored_numbers import numbers_of
from ontogeny.statistics.estimates import sample
from ontogeny.store.run_group import RunGroup, RunView

MOST_POINTS = 1500
"""Most points of a panel. With more, evenly spaced documents are drawn."""


def since_the_start(runs: RunGroup) -> Figure | None:
    """Change of each probe set's loss and tasks since before training: documents as points, mean and interval."""
    panels, samples = {}, []
    for run in runs.runs:
        sets = numbers_of(run, "forgetting").get("sets", {})
        if not sets:
            continue
        points = _documents(run)
        for name, numbers in sets.items():
            if numbers["n"]:
                of = "passage" if numbers["what"] == "loss" else "item"
                samples.append(f"{name} {sample(numbers['n'], of, numbers['documents'])}")
            mean = pd.DataFrame({"step": numbers["step"], **numbers["change"], "of": "mean"})
            frame = pd.concat([mean, points.get(name, pd.DataFrame())], ignore_index=True)
            base = alt.Chart().encode(step_axis(runs))
            unit = alt.Y("value:Q", title=f"{numbers['unit']}, since the first checkpoint", scale=alt.Scale(zero=True))
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
    basis = f" Of {', '.join(dict.fromkeys(samples))}." if samples else " Only means are known, so there is no band."
    return Figure(
        title="Since before training",
        caption="Each point is a document: its loss or accuracy minus that at the first checkpoint, on the same "
        "passages, words and endings. Line: mean weighted by tokens or items; band: 95% t interval over documents, "
        f"paired.{basis} A loss above zero means forgetting, and so does an accuracy below zero.",
        chart=panels,
        section="forgetting",
        order=10,
    )


def _documents(run: RunView) -> dict[str, pd.DataFrame]:
    """Changes of single documents by name of the loss or task; without those of which only means are known."""
    changes = {}
    for table in (*losses_of(run), *tasks_of(run)):
        if not table.items:
            continue
        kept = max(1, MOST_POINTS // len(table.step))
        chosen = range(0, table.documents, max(1, -(-table.documents // kept)))
        change = (table.total - table.total[0]) / table.weight
        rows = [
            {"step": step, "value": row[i], "of": "document"}
            for step, row in zip(table.step, change, strict=True)
            for i in chosen
        ]
        changes[table.name] = pd.DataFrame(rows)
    return changes
