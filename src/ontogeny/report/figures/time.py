"""Where the time went."""

import altair as alt
import pandas as pd

from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup


def share_of_time(runs: RunGroup) -> Figure | None:
    """Seconds in training steps, each measure, shared forward passes, checkpoints and the rest."""
    frame = _seconds(runs)
    if frame.empty:
        return None
    charts = {}
    for run, part in frame.groupby("run", sort=False):
        order = part.sort_values("seconds", ascending=False)["of"].tolist()
        widest = 1.3 * float(part["share"].max())
        base = alt.Chart().encode(
            y=alt.Y("of:N", title=None, sort=order, axis=alt.Axis(labelLimit=200, titleAngle=0)),
            x=alt.X(
                "share:Q",
                title="share of recorded time",
                scale=alt.Scale(domain=[0, widest]),
                axis=alt.Axis(format=".0%", tickCount=5),
            ),
            tooltip=[
                alt.Tooltip("of:N", title="part"),
                alt.Tooltip("seconds:Q", format=",.2f"),
                alt.Tooltip("share:Q", format=".2%"),
                alt.Tooltip("times:Q", format=",d"),
            ],
        )
        label = base.mark_text(align="left", dx=5).encode(text="label:N")
        kind = alt.Color("kind:N", scale=alt.Scale(domain=["training", "looking", "saving"]), legend=None)
        charts[str(run)] = alt.layer(
            base.mark_bar().encode(color=kind), label, data=part.drop(columns="run")
        ).properties(height=22 * len(part) + 10)
    caption = "Seconds recorded for each part, and its share of all of them. Reading data is part of a training step."
    names = tuple(
        name for name in runs.metric_names if name == "step_seconds" or name.startswith(("measure/", "checkpoint"))
    )
    return Figure(
        title="Share of time",
        caption=caption,
        chart=charts if len(charts) > 1 else next(iter(charts.values())),
        section="time",
        order=10,
        metrics=names,
    )


def _seconds(runs: RunGroup) -> pd.DataFrame:
    """Columns run, of, kind, seconds, share, times, label; one row per part of a run."""
    rows = []
    for _, run in runs.each():
        for name, rows_of_metric in run.metrics.items():
            values = rows_of_metric[rows_of_metric["scope"] == "timing"].drop_duplicates("step", keep="last")["value"]
            if len(values):
                rows.append(
                    {
                        "run": run.name,
                        "of": _in_words(name),
                        "kind": _kind(name),
                        "seconds": float(values.sum()),
                        "times": len(values),
                    }
                )
    frame = pd.DataFrame(rows, columns=["run", "of", "kind", "seconds", "times"])
    frame["share"] = frame["seconds"] / frame.groupby("run")["seconds"].transform("sum")
    frame["label"] = [
        f"{share:.1%}, {spent:,.1f} s" for share, spent in zip(frame["share"], frame["seconds"], strict=True)
    ]
    return frame


def _in_words(name: str) -> str:
    if name == "step_seconds":
        return "training steps"
    if name == "measure/forward":
        return "shared forward passes"
    return name.removeprefix("measure/") if name.startswith("measure/") else name


def _kind(name: str) -> str:
    if name == "step_seconds":
        return "training"
    return "looking" if name.startswith("measure/") else "saving"
