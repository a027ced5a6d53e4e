"""Is the order of training remembered?"""

import altair as alt
import pandas as pd

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import HEIGHT, rounded
from ontogeny.store.run_group import RunGroup


def since_last_visit(runs: RunGroup) -> Figure | None:
    """Loss of batches that come again, over the cycle, beside the control."""
    rows = []
    sizes = set()
    for run in runs.runs:
        found = run.analyses.get("order_memory", {}).get("numbers", {}).get("anticipation", {})
        own = run.name if len(runs.runs) > 1 else "run"
        for name, one in ((own, found), (f"control of {own}" if own != "run" else "control", found.get("control", {}))):
            curve = one.get("curve", {})
            sizes |= {one["n"]} if curve else set()
            rows += [
                {"of": name, "since": since / found["steps"], "value": value, "low": low, "high": high}
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
        caption="Loss of batches between their visits, by steps since the last one as a share of an epoch; what the "
        "checkpoint did to all of them and each batch's own mean are taken off. In a cyclic order the next visit is at "
        "100%: a fall towards it, beyond the control's, would be memory of the order. Bands: 95% intervals over "
        f"batches (n = {', '.join(str(size) for size in sorted(sizes))}).",
        chart=(band + line).properties(height=HEIGHT),
        section="memorization",
        order=33,
    )
