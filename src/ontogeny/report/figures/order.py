"""Does the model remember the order of training?"""

import altair as alt
import pandas as pd

from ontogeny.report.charts import HEIGHT, rounded
from ontogeny.report.figure import Figure
from ontogeny.report.stored_numbers import numbers_of
from ontogeny.store.run_group import RunGroup


def since_last_visit(runs: RunGroup) -> Figure | None:
    """Loss of repeated batches over the cycle, beside the control."""
    rows = []
    sizes = set()
    several = len(runs.runs) > 1
    for run in runs.runs:
        anticipation = numbers_of(run, "order_memory").get("anticipation", {})
        named = {
            run.name if several else "run": anticipation,
            f"control of {run.name}" if several else "control": anticipation.get("control", {}),
        }
        for name, numbers in named.items():
            curve = numbers.get("curve", {})
            sizes |= {numbers["n"]} if curve else set()
            rows += [
                {"of": name, "since": since / anticipation["steps"], "value": value, "low": low, "high": high}
                for since, value, low, high in zip(
                    *(curve.get(key, ()) for key in ("since", "value", "low", "high")), strict=True
                )
            ]
    if not rows:
        return None
    base = alt.Chart(rounded(pd.DataFrame(rows))).encode(
        alt.X("since:Q", title="since the batch's last visit", axis=alt.Axis(format=".0%")),
        alt.Color("of:N", title=None),
    )
    band = base.mark_area(opacity=0.2).encode(alt.Y("low:Q", title="nats"), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(
        alt.Y("value:Q", title="nats"), tooltip=["of:N", alt.Tooltip("since:Q", format=".0%"), "value:Q"]
    )
    return Figure(
        title="Does the loss fall before a batch comes again?",
        caption="Loss of batches between two visits, by steps since the last visit as a share of an epoch. The mean of "
        "each checkpoint and of each batch is subtracted. In a cyclic order the next visit is at 100%: a fall towards "
        "it, beyond the control's, would be memory of the order. Bands: 95% intervals over "
        f"batches (n = {', '.join(str(size) for size in sorted(sizes))}).",
        chart=(band + line).properties(height=HEIGHT),
        section="forgetting",
        order=63,
    )
