"""Held-out NLL of the arms of a distillation against what they cost."""

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.analyses.recorded.distillation_arms import AXES, Axis, ComparedArms, read_distillation
from ontogeny.core.errors import StoreError
from ontogeny.report.charts import HEIGHT, Panel, rounded
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup


def nll_at_cost(runs: RunGroup) -> Figure | None:
    """NLL against steps, FLOPs and seconds, one line for each seed, the teacher's NLL dashed."""
    if len(runs.bands) < 2:
        return None
    try:
        read = read_distillation(runs)
    except StoreError:
        return None
    charts = {f"at {axis}": chart for axis in AXES if (chart := _chart(read, axis)) is not None}
    if not charts:
        return None
    passages = f"{read.passages} passages from {len(read.weight)} documents"
    return Figure(
        title="What a teacher gains, and costs",
        caption=f"Plain NLL of {read.probe} ({passages}) at the states that were evaluated, a line for each seed; the "
        "first, before training, is left out. The dashed line is the teacher. FLOPs and seconds count the teacher's "
        "forward passes; in the panels that say so its training, too.",
        chart=charts,
        section="distillation",
        order=5,
    )


def _chart(read: ComparedArms, axis: Axis) -> Panel | None:
    weight = read.weight.sum()
    rows = [
        {"arm": arm.label, "seed": str(seed), "cost": cost, "nll": nll}
        for arm in read.arms
        for seed, curve in arm.curves.items()
        for cost, nll in zip(curve.costs[axis][1:], curve.total[1:].sum(axis=1) / weight, strict=True)
        if np.isfinite(cost) and np.isfinite(nll)
    ]
    if not rows:
        return None
    teachers = pd.DataFrame({"nll": [float(teacher.total.sum() / weight) for teacher in read.teachers]})
    y = alt.Y("nll:Q", title="NLL, nats per token", scale=alt.Scale(zero=False))
    number = "~e" if axis.startswith("FLOPs") else "~g"
    x = alt.X("cost:Q", title=axis, scale=alt.Scale(type="log"), axis=alt.Axis(format=number, tickCount=4))
    hover = ["arm:N", "seed:N", alt.Tooltip("cost:Q", format=".3~g"), alt.Tooltip("nll:Q", format=".4f")]
    legend = alt.Legend(orient="bottom", columns=2, title=None)  # beside each other, panels leave little room
    colour = alt.Color("arm:N", scale=alt.Scale(domain=[arm.label for arm in read.arms]), legend=legend)
    lines = alt.Chart(rounded(pd.DataFrame(rows), 6)).mark_line(strokeWidth=1.2, point={"size": 12})
    rule = alt.Chart(rounded(teachers, 6)).mark_rule(strokeDash=[4, 3]).encode(y)
    return alt.layer(lines.encode(x, y, colour, detail="seed:N", tooltip=hover), rule).properties(height=HEIGHT)
