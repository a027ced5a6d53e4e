"""Weight drift: by block and checkpoint, and of the whole model."""

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import Axis, interval_note, trajectory
from ontogeny.report.figure import Figure
from ontogeny.report.heat_maps import block_map, block_names, not_measured
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    import xarray as xr

MEASURE = "weight_drift"
REFERENCES = {"first": "from the first checkpoint", "previous": "since the checkpoint before"}
MOST_RUNS = 4


def drift_by_block(runs: RunGroup) -> Figure | None:
    """Relative L2 distance of every block, from the first and from the previous checkpoint."""
    measured = runs.measures(MEASURE)[:MOST_RUNS]
    tips = [
        alt.Tooltip("mad:Q", title="mean |difference|", format=".3g"),
        alt.Tooltip("cosine:Q", title="cosine", format=".5f"),
    ]
    charts, lost = {}, ""
    for _, run, data in measured:
        of_first = _frame(data, "first")
        lost += not_measured(data["block"].to_numpy(), of_first["block"]) if not of_first.empty else ""
        for reference, words in REFERENCES.items():
            frame = _frame(data, reference)
            if not frame.empty:
                title = words if len(measured) == 1 else f"{run.name}, {words}"
                charts[title] = block_map(frame, "relative_l2", "relative L2", tips)
    if not charts:
        return None
    return Figure(
        title="Weight drift, block by checkpoint",
        caption="‖w − r‖ / ‖r‖ of each block's weights w, with r those of the checkpoint named above the panel. "
        f"Mean absolute difference (MAD) and cosine appear on hover.{lost}",
        chart=charts,
        section="weights",
        order=10,
        metrics=tuple(
            f"{MEASURE}/{quantity}_{reference}" for quantity in ("mad", "cosine") for reference in REFERENCES
        ),
    )


def drift_of_the_whole(runs: RunGroup) -> Figure | None:
    """Relative L2 distance of all weights together, from the first and from the previous checkpoint."""
    names = {words: f"{MEASURE}/relative_l2_{reference}" for reference, words in REFERENCES.items()}
    charts = {}
    for words, name in names.items():
        chart = trajectory(runs, name, Axis("relative L2", ".4f"))
        if chart is not None:
            charts[words] = next(iter(chart.values())) if isinstance(chart, dict) else chart
    if not charts:
        return None
    return Figure(
        title="Weight drift, whole model",
        caption=f"The same for all weights together. {interval_note(runs, '')}".strip(),
        chart=charts,
        section="weights",
        order=20,
        metrics=tuple(names.values()),
    )


def _frame(data: "xr.Dataset", reference: str) -> pd.DataFrame:
    """Rows per (checkpoint, block) with a finite distance: step, block, name, relative_l2, mad, cosine."""
    quantities = ("relative_l2", "mad", "cosine")
    names = {f"block_{q}_{reference}": q for q in quantities if f"block_{q}_{reference}" in data}
    if "relative_l2" not in names.values():
        return pd.DataFrame()
    frame = data[list(names)].to_dataframe().reset_index().rename(columns=names)
    frame = frame[np.isfinite(frame["relative_l2"])]
    frame = frame.assign(name=frame["block"].map(block_names(data["block"].to_numpy())))
    return frame[["step", "block", "name", *names.values()]]
