"""Optimizer steps: learning rate, gradient norm, and the terms of the loss."""

import numpy as np

from ontogeny.report.charts import Axis, Panel, per_step
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup


def learning_rate(runs: RunGroup) -> Figure | None:
    """The learning rate of each step."""
    chart = _drawn(runs, "learning_rate", Axis("", ".4g"))
    if chart is None:
        return None
    caption = "As each step used it, warm-up and decay included."
    return Figure(
        title="Learning rate", caption=caption, chart=chart, section="curves", order=60, metrics=("learning_rate",)
    )


def gradient_norm(runs: RunGroup) -> Figure | None:
    """The global norm of the gradient before clipping."""
    chart = _drawn(runs, "grad_norm", Axis("L2 norm", ".4g", "log"))
    if chart is None:
        return None
    caption = "Global L2 norm before clipping, on a logarithmic scale."
    return Figure(
        title="Gradient norm", caption=caption, chart=chart, section="curves", order=70, metrics=("grad_norm",)
    )


def terms(runs: RunGroup) -> Figure | None:
    """Each term of the loss, unweighted, when there are several."""
    names = [name for name in runs.metric_names if name.startswith("term_")]
    drawn = {name.removeprefix("term_"): _drawn(runs, name, Axis("", ".4g")) for name in names}
    charts = {name: chart for name, chart in drawn.items() if chart is not None}
    if len(charts) < 2:
        return None
    caption = "Each term on the step's batch, unweighted."
    return Figure(
        title="Terms of the loss", caption=caption, chart=charts, section="curves", order=32, metrics=tuple(names)
    )


def _drawn(runs: RunGroup, metric: str, axis: Axis) -> Panel | None:
    """One number per optimizer step; None without usable rows."""
    rows = runs.scalars(metric, ["train"])
    value = rows["value"].to_numpy(float)
    rows = rows[np.isfinite(value) & ((value > 0) | (axis.scale != "log"))]
    return None if rows.empty else per_step(runs, rows, axis)[0]
