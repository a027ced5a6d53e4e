"""Trained passages beside their twins, which say the same in another form."""

import altair as alt
import pandas as pd

from ontogeny.report.charts import HEIGHT, rounded
from ontogeny.report.figure import Figure
from ontogeny.report.stored_numbers import Numbers, numbers_of
from ontogeny.store.run_group import RunGroup


def carried_over(runs: RunGroup) -> Figure | None:
    """What was learned of trained passages beyond novel ones, in the original words and in another form."""
    panels = {}
    for run in runs.runs:
        for name, numbers in numbers_of(run, "twins").get("sets", {}).items():
            if "gain" in numbers:
                title = f"{name}: {numbers['by']}" + (f" · {run.name}" if len(runs.runs) > 1 else "")
                panels[title] = _gains(numbers)
    if not panels:
        return None
    return Figure(
        title="Word for word, or what is said?",
        caption="Fall of the mean NLL since checkpoint 0, in nats, of trained text beyond that of novel text in the "
        "same form. Bands: 95% bootstrap over documents. Where both lines rise together, the model learned more than "
        "the wording.",
        chart=panels,
        section="dynamics",
        order=35,
    )


def _gains(numbers: Numbers) -> alt.LayerChart:
    rows = [
        {"epoch": epoch, "value": gain["value"][c], "low": gain["low"][c], "high": gain["high"][c], "form": form}
        for form, gain in numbers["gain"].items()
        for c, epoch in enumerate(numbers["epoch"])
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
