"""Originals beside their twins."""

from typing import Any

import altair as alt
import pandas as pd

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import HEIGHT, rounded
from ontogeny.store.run_group import RunGroup


def carried_over(runs: RunGroup) -> Figure | None:
    """What was learned of trained passages beyond novel ones, in their own words and in another form."""
    panels = {}
    for run in runs.runs:
        for name, one in run.analyses.get("twins", {}).get("numbers", {}).get("sets", {}).items():
            if "gain" in one:
                panels[f"{name}: {one['by']}" + (f" · {run.name}" if len(runs.runs) > 1 else "")] = _gains(one)
    if not panels:
        return None
    return Figure(
        title="Word for word, or what is said?",
        caption="Fall of the mean NLL since checkpoint 0, in nats, of trained text beyond that of novel text in the "
        "same form. Bands: 95% bootstrap over documents. Where both lines rise together, more than words was learned.",
        chart=panels,
        section="dynamics",
        order=35,
    )


def _gains(one: dict[str, Any]) -> alt.LayerChart:
    rows = [
        {"epoch": epoch, "value": gain["value"][c], "low": gain["low"][c], "high": gain["high"][c], "form": form}
        for form, gain in one["gain"].items()
        for c, epoch in enumerate(one["epoch"])
    ]
    scale = alt.Scale(type="symlog", nice=False)
    base = alt.Chart(rounded(pd.DataFrame(rows), 4)).encode(
        alt.X("epoch:Q", title="epoch", scale=scale, axis=alt.Axis(format="~g")),
        alt.Color("form:N", title=None, sort=["original", "twin"]),
    )
    band = base.mark_area(opacity=0.2).encode(alt.Y("low:Q", title="nats beyond novel text"), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(
        alt.Y("value:Q", title="nats beyond novel text"), tooltip=["form:N", "epoch:Q", "value:Q"]
    )
    return (band + line).properties(height=HEIGHT)
