"""General ability, and how far the weights moved."""

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import HEIGHT, rounded
from ontogeny.report.figure import Figure
from ontogeny.report.heat_maps import block_names
from ontogeny.report.stored_numbers import Numbers, numbers_of
from ontogeny.statistics.estimates import sample
from ontogeny.store.run_group import RunGroup

ROW = 34


def at_the_end(runs: RunGroup) -> Figure | None:
    """Each measure of general ability at the last checkpoint against the first, with its interval."""
    rows, samples = [], []
    for run in runs.runs:
        for name, change in numbers_of(run, "collapse").get("changes", {}).items():
            rows.append(
                {
                    "run": run.name,
                    "number": name,
                    "unit": change["unit"],
                    **_signed(change),
                    "p": change["p_adjusted"][-1],
                }
            )
            if change["n"]:
                of = "passage" if change["what"] == "loss" else "item"
                samples.append(f"{name} {sample(change['n'], of, change['documents'])}")
    if not rows:
        return None
    frame = rounded(pd.DataFrame(rows), 4)
    panels = {}
    for unit, part in frame.groupby("unit", sort=False):
        y = alt.Y("number:N", title=None, sort=None, axis=alt.Axis(grid=False, labelLimit=230))
        x = alt.X("value:Q", title=f"change, {unit}", scale=alt.Scale(zero=True))
        by_run = [alt.YOffset("run:N"), alt.Color("run:N", title=None)] if len(runs.runs) > 1 else []
        base = alt.Chart().encode(y, *by_run)
        hover = ["run:N", "number:N", *(alt.Tooltip(f"{key}:Q", format=".4g") for key in ("value", "low", "high", "p"))]
        bars = base.mark_rule(strokeWidth=2).encode(alt.X("low:Q", title=f"change, {unit}"), alt.X2("high:Q"))
        zero = alt.Chart().mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(x=alt.datum(0))
        point = base.mark_point(size=70).encode(x, tooltip=hover)
        height = max(90, ROW * len(part))
        panels[str(unit)] = alt.layer(zero, bars, point, data=part).properties(height=height)
    return Figure(
        title="General ability at the end",
        caption="Last checkpoint minus first on the same items of text that is not trained on. Bars: 95% t interval of "
        "the paired difference over documents (items, for the harness's tasks)"
        f"{': ' if samples else ''}{', '.join(dict.fromkeys(samples))}. p, on hover, is adjusted over all numbers and "
        "checkpoints by Benjamini and Hochberg. Single documents are drawn above.",
        chart=panels,
        section="forgetting",
        order=30,
    )


def weights_and_loss(runs: RunGroup) -> Figure | None:
    """How far each layer's weights have moved against the general loss, checkpoint by checkpoint."""
    panels = {}
    for run in runs.runs:
        numbers = numbers_of(run, "collapse")
        for name, change in numbers.get("changes", {}).items():
            if change["what"] != "loss" or "mad" not in numbers:
                continue
            mad, blocks = np.array(numbers["mad"]["mad"], dtype=float), np.array(numbers["mad"]["block"])
            rise_at = dict(zip(change["step"], change["value"], strict=True))
            named = block_names(blocks)
            frame = pd.DataFrame(
                [
                    {"layer": named[int(block)], "step": step, "mad": row[i], "change": rise_at[step]}
                    for step, row in zip(numbers["mad"]["step"], mad, strict=True)
                    if step in rise_at
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
        title="Weight drift and general loss",
        caption="Each point is a checkpoint: how far a layer's weights are from the first checkpoint (MAD), and how "
        "far the general loss has risen; lines follow training. Both grow with training, so a smooth curve is no "
        "evidence of a relation: the analysis compares their differences between checkpoints.",
        chart=panels,
        section="forgetting",
        order=40,
    )


def over_runs(runs: RunGroup) -> Figure | None:
    """Final distance of the weights and final general loss of each run of a sweep, with and without replay."""
    panels = {}
    for run in runs.runs:
        points: Numbers = numbers_of(run, "collapse").get("across", {}).get("points", {})
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
        title="Does weight drift predict collapse, over runs?",
        caption="Each point is a run. The analysis gives correlations with intervals, and whether they differ. Runs "
        "that differ in the learning rate correlate for that reason alone.",
        chart=panels,
        section="forgetting",
        order=50,
    )


def _signed(change: Numbers) -> dict[str, float]:
    """The last change in the number's own sign: a fall is negative, also of an accuracy."""
    last = (np.nan if change[key][-1] is None else change[key][-1] for key in ("value", "low", "high"))
    value, *ends = (change["worse"] * number for number in last)
    return {"value": value, "low": min(ends), "high": max(ends)}
