"""General ability, and how far the weights moved."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import HEIGHT, rounded
from ontogeny.report.figures._heat import block_names
from ontogeny.store.run_group import RunGroup, RunView

ROW = 34


def at_the_end(runs: RunGroup) -> Figure | None:
    """Every general number at the last checkpoint against the first, with its interval."""
    rows = [
        {"run": run.name, "number": name, "unit": one["unit"], **_signed(one), "p": one["p_adjusted"][-1]}
        for run in runs.runs
        for name, one in _numbers(run).get("changes", {}).items()
    ]
    if not rows:
        return None
    frame = rounded(pd.DataFrame(rows), 4)
    panels = {}
    for unit, part in frame.groupby("unit", sort=False):
        y = alt.Y("number:N", title=None, sort=None, axis=alt.Axis(grid=False, labelLimit=230))
        x = alt.X("value:Q", title=f"change, {unit}", scale=alt.Scale(zero=True))
        rows_of_runs = [alt.YOffset("run:N"), alt.Color("run:N", title=None)] if len(runs.runs) > 1 else []
        base = alt.Chart().encode(y, *rows_of_runs)
        hover = ["run:N", "number:N", *(alt.Tooltip(f"{key}:Q", format=".4g") for key in ("value", "low", "high", "p"))]
        bars = base.mark_rule(strokeWidth=2).encode(alt.X("low:Q", title=f"change, {unit}"), alt.X2("high:Q"))
        zero = alt.Chart().mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(x=alt.datum(0))
        point = base.mark_point(size=70).encode(x, tooltip=hover)
        height = max(90, ROW * len(part))
        panels[str(unit)] = alt.layer(zero, bars, point, data=part).properties(height=height)
    return Figure(
        title="General ability at the end",
        caption="Last checkpoint minus first on the same items of text that is not trained on. Bars: 95% t interval of "
        "the paired difference over documents (items, for the harness's tasks); p, on hover, is adjusted over all "
        "numbers and checkpoints by Benjamini and Hochberg. The documents themselves are drawn above.",
        chart=panels,
        section="forgetting",
        order=30,
    )


def weights_and_loss(runs: RunGroup) -> Figure | None:
    """How far each layer has moved beside the general loss, checkpoint by checkpoint."""
    panels = {}
    for run in runs.runs:
        found = _numbers(run)
        for name, one in found.get("changes", {}).items():
            if one["what"] != "loss" or "mad" not in found:
                continue
            mad, blocks = np.array(found["mad"]["mad"], dtype=float), np.array(found["mad"]["block"])
            risen = dict(zip(one["step"], one["value"], strict=True))
            named = block_names(blocks)
            frame = pd.DataFrame(
                [
                    {"layer": named[int(block)], "step": step, "mad": row[i], "change": risen[step]}
                    for step, row in zip(found["mad"]["step"], mad, strict=True)
                    if step in risen
                    for i, block in enumerate(blocks)
                ]
            )
            if frame.empty:
                continue
            chart = (
                alt.Chart(rounded(frame, 4))
                .mark_line(point=True, strokeWidth=1)
                .encode(
                    alt.X("mad:Q", title="mean absolute difference of weights from the first checkpoint"),
                    alt.Y("change:Q", title="nats since the first checkpoint"),
                    alt.Color("layer:N", title=None, sort=list(named.values())),
                    alt.Order("step:Q"),
                    tooltip=["layer:N", "step:Q", "mad:Q", "change:Q"],
                )
                .properties(height=HEIGHT)
            )
            panels[name if len(runs.runs) == 1 else f"{run.name}, {name}"] = chart
    if not panels:
        return None
    return Figure(
        title="The weights' way and the general loss",
        caption="Each point is a checkpoint: how far a layer's weights are from the first (MAD), and how much the "
        "general loss rose since; lines follow training. Both grow with training, so that they lie on a curve says "
        "nothing: the analysis compares their differences between checkpoints.",
        chart=panels,
        section="forgetting",
        order=40,
    )


def over_runs(runs: RunGroup) -> Figure | None:
    """Final distance of the weights and final general loss of each run of a sweep, with and without replay."""
    panels = {}
    for run in runs.runs:
        points: dict[str, Any] = _numbers(run).get("across", {}).get("points", {})
        frame = pd.DataFrame(
            [{"arm": arm, "mad": mad, "change": change} for arm, pairs in points.items() for mad, change in pairs]
        )
        if frame.empty:
            continue
        chart = (
            alt.Chart(rounded(frame, 4))
            .mark_point(size=60)
            .encode(
                alt.X("mad:Q", title="final mean absolute difference of weights", scale=alt.Scale(zero=False)),
                alt.Y("change:Q", title="final rise of the general loss, nats"),
                alt.Color("arm:N", title=None),
                alt.Shape("arm:N"),
                tooltip=["arm:N", "mad:Q", "change:Q"],
            )
            .properties(height=HEIGHT)
        )
        panels[run.name if len(runs.runs) > 1 else ""] = chart
    if not panels:
        return None
    return Figure(
        title="Does the weights' way tell the collapse, over runs?",
        caption="Each point is a run. Correlations with their intervals, and whether they differ, are in the analysis; "
        "runs that differ in their learning rate correlate for that reason alone.",
        chart=panels,
        section="forgetting",
        order=50,
    )


def _signed(one: dict[str, Any]) -> dict[str, float]:
    """The last change as the number itself changed: of an accuracy, down is negative."""
    last = (np.nan if one[key][-1] is None else one[key][-1] for key in ("value", "low", "high"))
    value, *ends = (one["worse"] * number for number in last)
    return {"value": value, "low": min(ends), "high": max(ends)}


def _numbers(run: RunView) -> dict[str, Any]:
    found: dict[str, Any] = run.analyses.get("collapse", {}).get("numbers", {})
    return found
