"""How the loss of trained batches went on after their step."""

from collections.abc import Iterator

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import HEIGHT, rounded
from ontogeny.report.figure import Figure
from ontogeny.report.stored_numbers import Numbers, numbers_of
from ontogeny.store.run_group import RunGroup, RunView

MOST_ROWS = 70
"""Most rows and columns of the matrix: more are averaged."""
MOST_POINTS = 1500


def matrix(runs: RunGroup) -> Figure | None:
    """Change of each batch's loss since before training, by place in training and time."""
    panels = {}
    for run, numbers in _analyzed(runs):
        values, steps = _changes(run), np.array(numbers["step"])
        rows = np.array_split(np.arange(values.shape[1]), min(MOST_ROWS, values.shape[1]))
        columns = np.array_split(np.arange(values.shape[0]), min(MOST_ROWS, values.shape[0]))
        trained = np.array(numbers["trained_at"])
        frame = pd.DataFrame(
            [
                {"batch": int(trained[r].mean()), "step": int(steps[c].mean()), "change": values[np.ix_(c, r)].mean()}
                for c in columns
                for r in rows
            ]
        )
        most = float(frame["change"].abs().max()) or 1.0
        panels[run.name if len(runs.runs) > 1 else ""] = (
            alt.Chart(rounded(frame, 4))
            .mark_rect()
            .encode(
                alt.X("step:O", title="checkpoint (step)", axis=alt.Axis(labelOverlap=True)),
                alt.Y("batch:O", title="trained at step", sort="ascending", axis=alt.Axis(labelOverlap=True)),
                alt.Color("change:Q", title="nats", scale=alt.Scale(scheme="blueorange", domain=[-most, most])),
                tooltip=["batch:O", "step:O", "change:Q"],
            )
            .properties(height=int(1.4 * HEIGHT))
        )
    if not panels:
        return None
    return Figure(
        title="What became of each batch",
        caption="Loss of sampled training batches minus their loss before training, in nats, at every checkpoint: blue "
        "is better than before training, orange worse. A batch learns at its own step, on the diagonal.",
        chart=panels,
        section="forgetting",
        order=60,
    )


def retention(runs: RunGroup) -> Figure | None:
    """Share of a batch's gain that is retained, by age."""
    rows = [
        {"age": age + 1, "value": value, "low": low, "high": high, "run": run.name}
        for run, numbers in _analyzed(runs)
        for age, value, low, high in zip(
            *(numbers["curve"][key] for key in ("age", "value", "low", "high")), strict=True
        )
    ]
    if not rows:
        return None
    colour = [alt.Color("run:N", title=None)] if len(runs.runs) > 1 else []
    base = alt.Chart(rounded(pd.DataFrame(rows), 4)).encode(
        alt.X("age:Q", title="steps since the batch's own step, plus 1", scale=alt.Scale(type="log", nice=False)),
        *colour,
    )
    value = alt.Y("value:Q", title="retained", axis=alt.Axis(format=".0%"))
    band = base.mark_area(opacity=0.2).encode(alt.Y("low:Q", title="retained"), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(value, tooltip=["run:N", "age:Q", "value:Q"])
    return Figure(
        title="How much is retained",
        caption="Share of a batch's gain at its own step that later checkpoints retain, by age; beyond the gain of "
        "novel text, where that was measured. Above 100%: later batches taught the same. Bands: 95% bootstrap over "
        "blocks of neighbouring batches.",
        chart=(band + line).properties(height=HEIGHT),
        section="forgetting",
        order=61,
    )


def by_place(runs: RunGroup) -> Figure | None:
    """Gain of each batch at the end, by its place in training: raw points."""
    panels = {}
    for run, numbers in _analyzed(runs):
        trained = np.array(numbers["trained_at"])
        gain = -_changes(run)[-1]
        chosen = np.unique(np.linspace(0, len(gain) - 1, min(MOST_POINTS, len(gain))).round().astype(int))
        frame = rounded(pd.DataFrame({"step": trained[chosen], "gain": gain[chosen]}), 4)
        points = (
            alt.Chart(frame)
            .mark_circle(size=22, opacity=0.5)
            .encode(
                alt.X("step:Q", title="trained at step"),
                alt.Y("gain:Q", title="nats better than before training"),
                tooltip=["step:Q", "gain:Q"],
            )
        )
        panels[run.name if len(runs.runs) > 1 else ""] = points.properties(height=HEIGHT)
    if not panels:
        return None
    return Figure(
        title="First, last, or the middle?",
        caption="Each point is a sampled batch: how far its loss fell from before training to the end, by the step at "
        "which it was trained on. No average is drawn.",
        chart=panels,
        section="forgetting",
        order=62,
    )


def _analyzed(runs: RunGroup) -> Iterator[tuple[RunView, Numbers]]:
    """Runs with the numbers of their retention, where these are of all batches in the ledger now."""
    for run in runs.runs:
        numbers = numbers_of(run, "retention")
        if "trained_at" in numbers and run.measure("ledger").sizes["batch"] == len(numbers["trained_at"]):
            yield run, numbers


def _changes(run: RunView) -> np.ndarray:
    """Loss minus loss before training: float64 [checkpoints in order of step, batches]."""
    ledger = run.measure("ledger")
    nll = ledger["nll"].values[np.argsort(ledger.step.values)].astype(np.float64)
    return np.asarray(nll - nll[:1])
