"""Effect of the next step at each learning rate."""

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import HEIGHT, rounded
from ontogeny.report.figure import Figure
from ontogeny.report.landscape_answers import landscape_title, landscapes_of
from ontogeny.store.run_group import RunGroup

MOST = 1.15
"""Losses above this multiple of the loss before the step are not drawn."""
SHOWN = 6
"""Checkpoints that have a curve."""
_RATE = alt.X("rate:Q", title="learning rate", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~e"))
_NAMES = {"train": "the next batch", "new": "held-out text of the kind that is learned", "general": "general text"}


def curves(runs: RunGroup) -> Figure | None:
    """Loss after the step against the learning rate, at some checkpoints."""
    panels = {}
    for run, name, landscape in landscapes_of(runs):
        order = np.argsort(landscape.step.values)
        chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]
        for b, batch in enumerate(landscape.batch.values):
            frame = pd.DataFrame(
                [
                    {"rate": rate, "loss": loss, "step": f"step {step:,}"}
                    for at in chosen
                    for step, rate, loss in zip(
                        [int(landscape.step.values[at])] * landscape.sizes["learning_rate"],
                        landscape.learning_rate.values,
                        _capped(landscape.loss.values[at, b], float(landscape.loss_before.values[at, b])),
                        strict=True,
                    )
                ]
            ).dropna()
            steps = list(dict.fromkeys(frame["step"]))
            panels[landscape_title(_NAMES[str(batch)], run, name, runs)] = (
                alt.Chart(rounded(frame, 4))
                .mark_line(point=True)
                .encode(
                    _RATE,
                    alt.Y("loss:Q", title="nats", scale=alt.Scale(zero=False)),
                    alt.Color("step:N", title=None, sort=steps),
                    tooltip=["step:N", "rate:Q", "loss:Q"],
                )
                .properties(height=HEIGHT)
            )
    if not panels:
        return None
    return Figure(
        title="Loss after the next step, by learning rate",
        caption="Loss in evaluation mode after the step that the optimizer would take at each learning rate. Losses "
        "above 1.15 times the loss before the step are left out. One measurement each: no interval.",
        chart=panels,
        section="curves",
        order=70,
    )


def heat(runs: RunGroup) -> Figure | None:
    """Relative decrease of the new text's loss over training, by learning rate."""
    panels = {}
    for run, name, landscape in landscapes_of(runs):
        decrease = landscape.decrease.sel(batch="new").values
        most = max(float(np.nanmax(decrease)), 1e-6)
        frame = pd.DataFrame(
            [
                {
                    "step": f"{int(step):,}",
                    "rate": f"{rate:.1e}",
                    "decrease": float(np.clip(decrease[c, r], -most, None)),
                }
                for c, step in enumerate(landscape.step.values)
                for r, rate in enumerate(landscape.learning_rate.values)
            ]
        ).dropna()
        if landscape.sizes["checkpoint"] < 2 or frame.empty:
            continue
        rates = list(dict.fromkeys(frame["rate"]))
        steps = list(dict.fromkeys(frame["step"]))
        panels[landscape_title("", run, name, runs)] = (
            alt.Chart(rounded(frame, 5))
            .mark_rect()
            .encode(
                alt.X("step:O", sort=steps, title="step"),
                alt.Y("rate:O", sort=rates[::-1], title="learning rate"),
                alt.Color("decrease:Q", title="decrease", scale=alt.Scale(scheme="blueorange", domain=[-most, most])),
                tooltip=["step:O", "rate:O", alt.Tooltip("decrease:Q", format=".2%")],
            )
            .properties(height=HEIGHT)
        )
    if not panels:
        return None
    return Figure(
        title="Which rate learns most, and when",
        caption="Relative decrease of the loss on held-out text of the kind that is learned, after one step from each "
        "state at each rate; an increase beyond the largest decrease is drawn as that much. One measurement each.",
        chart=panels,
        section="curves",
        order=71,
    )


def _capped(losses: np.ndarray, before: float) -> np.ndarray:
    return np.where(losses > MOST * before, np.nan, losses)
