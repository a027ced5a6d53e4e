"""Gradient norms of each probe set on each block."""

import numpy as np

from ontogeny.report.charts import Axis, interval_note, trajectory
from ontogeny.report.figure import Figure
from ontogeny.report.heat_maps import block_map, block_names, not_measured
from ontogeny.store.run_group import RunGroup

MEASURE = "gradient_norms"


def pull(runs: RunGroup) -> Figure | None:
    """Norm of the objective's gradient on each whole probe set."""
    chart = trajectory(runs, f"{MEASURE}/norm", Axis("L2 norm", ".3g", "log"))
    if chart is None:
        return None
    caption = "L2 norm of the objective's gradient on each whole probe set, logarithmic."
    return Figure(
        title="Pull of every probe set",
        caption=f"{caption} {interval_note(runs, '')}".strip(),
        chart=chart,
        section="weights",
        order=30,
        metrics=(f"{MEASURE}/norm",),
    )


def pull_by_block(runs: RunGroup) -> Figure | None:
    """The same by block and checkpoint; of a single run only, to keep it readable."""
    measured = runs.measures(MEASURE)
    if len(measured) != 1 or "block_norm" not in measured[0][2]:
        return None
    data = measured[0][2]
    frame = data[["block_norm"]].to_dataframe().reset_index()
    frame = frame[np.isfinite(frame["block_norm"]) & (frame["block_norm"] > 0)]
    if frame.empty:
        return None
    frame = frame.assign(name=frame["block"].map(block_names(data["block"].to_numpy())))
    columns = ["step", "block", "name", "block_norm"]
    charts = {
        str(probe): block_map(part[columns], "block_norm", "L2 norm", log=True)
        for probe, part in frame.groupby("probe", sort=False)
    }
    caption = "L2 norm of the objective's gradient per block, logarithmic."
    caption += not_measured(data["block"].to_numpy(), frame["block"])
    return Figure(title="Pull, block by checkpoint", caption=caption, chart=charts, section="weights", order=40)
