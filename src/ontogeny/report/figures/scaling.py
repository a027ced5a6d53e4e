"""What is forgotten and learned against the size of the model, where several sizes were run."""

import json
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from ontogeny.analyses.recorded.loss_curves import loss_curves
from ontogeny.report.charts import HEIGHT, Panel, rounded
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup, RunView


def sizes(runs: RunGroup) -> Figure | None:
    """Rise of the general loss, and the new text's loss at the end, by parameters: every run is a point."""
    rows = []
    for band, run in runs.each():
        ends = loss_curves(run)
        if ends is None or not ends.parameters or not ends.new or not ends.general:
            continue
        general, new = ends.losses[ends.general], ends.losses[ends.new]
        rows.append(
            {
                "like": _all_but_the_model(run),
                "band": band.label,
                "parameters": ends.parameters,
                "seed": run.seed,
                "rise": float(general[-1] - general[0]),
                "new": float(new[-1]),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty or table["parameters"].nunique() < 2:
        return None
    table["series"] = table.groupby("like")["band"].transform(_common)
    panels = {
        "Rise of the general loss": _chart(table, "rise", "nats per token, last minus first"),
        "Loss of new text": _chart(table, "new", "nats per token, at the end"),
    }
    return Figure(
        title="Size",
        caption="Every point is a run, lines join the means over seeds. Numbers of parameters on a logarithmic axis; "
        "laws, their intervals and what was predicted stand in scaling.txt of a sweep's folder.",
        chart=panels,
        section="forgetting",
        order=71,
    )


def _chart(table: pd.DataFrame, column: str, title: str) -> Panel:
    several = table["series"].nunique() > 1
    colour = [alt.Color("series:N", title=None)] if several else []
    base = alt.Chart(rounded(table.drop(columns=["like"]), 5)).encode(
        alt.X("parameters:Q", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~s")), *colour
    )
    y = alt.Y(f"{column}:Q", title=title, scale=alt.Scale(zero=False))
    mean = alt.Y(f"mean({column}):Q", title=title, scale=alt.Scale(zero=False))
    points = base.mark_circle(size=30, opacity=0.5).encode(y, tooltip=["band:N", "seed:N", f"{column}:Q"])
    return alt.layer(base.mark_line().encode(mean), points).properties(height=HEIGHT)


def _all_but_the_model(run: RunView) -> str:
    """The recipe without model and seed, to recognise runs that differ only in size."""
    content: dict[str, Any] = {key: run.recipe.get(key) for key in ("data", "train", "objective")}
    if isinstance(content["train"], Mapping):
        content["train"] = {key: value for key, value in content["train"].items() if key != "seed"}
    return json.dumps(content, sort_keys=True, default=str)


def _common(labels: pd.Series) -> str:
    """What the labels of groups have in common."""
    parts = [label.split(", ") for label in labels.unique()]
    return ", ".join(part for part in parts[0] if all(part in other for other in parts)) or "all"
