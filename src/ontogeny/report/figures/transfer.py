"""Tasks one after the other."""

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import rounded
from ontogeny.report.figure import Figure
from ontogeny.report.stored_numbers import numbers_of
from ontogeny.store.run_group import RunGroup

CELL = 46


def matrix(runs: RunGroup) -> Figure | None:
    """R: the loss on each task after each stage, as a map with its values."""
    panels = {}
    for run in runs.runs:
        numbers = numbers_of(run, "transfer")
        if "R" not in numbers:
            continue
        r = np.array(numbers["R"], dtype=float)
        tasks = [str(task).partition("/")[0] for task in numbers["tasks"]]
        stages = ["before training", *(f"after {i + 1}. {task}" for i, task in enumerate(tasks))]
        probes = [f"{j + 1}. {task}" for j, task in enumerate(tasks)]
        frame = rounded(
            pd.DataFrame(
                [
                    {"stage": stage, "task": task, "loss": r[i, j], "since": r[i, j] - r[0, j]}
                    for i, stage in enumerate(stages)
                    for j, task in enumerate(probes)
                ]
            ),
            4,
        )
        most = float(frame["since"].abs().max()) or 1.0
        base = alt.Chart(frame).encode(
            alt.X("task:N", sort=probes, title="loss on", axis=alt.Axis(orient="top", labelAngle=0)),
            alt.Y("stage:N", sort=stages, title=None, axis=alt.Axis(grid=False)),
        )
        scale = alt.Scale(scheme="blueorange", domain=[-most, most])
        cells = base.mark_rect().encode(
            alt.Color("since:Q", title="nats since before training", scale=scale),
            tooltip=["stage:N", "task:N", "loss:Q", "since:Q"],
        )
        readable = alt.condition(f"abs(datum.since) > {0.55 * most}", alt.value("white"), alt.value("black"))
        values = base.mark_text(fontSize=13).encode(alt.Text("loss:Q", format=".2f"), color=readable)
        chart = cells + values
        panels[run.name if len(runs.runs) > 1 else ""] = chart.properties(height=CELL * len(stages))
    if not panels:
        return None
    return Figure(
        title="What each task does to the others",
        caption="R: loss in nats per token on held-out text of each task (columns) before training and after each "
        "stage (rows). Colour: change since before training; blue is better. Below a task's own stage its column shows "
        "backward transfer, above it forward transfer.",
        chart=panels,
        section="forgetting",
        order=20,
    )
