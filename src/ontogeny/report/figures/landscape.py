"""What the next step would do at each learning rate."""

from collections.abc import Iterator
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import HEIGHT, rounded
from ontogeny.store.run_group import RunGroup, RunView

MOST = 1.15
"""Times the loss before: what is higher is not drawn."""
SHOWN = 6
"""States that get a curve."""
_RATE = alt.X("rate:Q", title="learning rate", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~e"))
_NAMES = {"train": "the next batch", "new": "held-out text of the kind that is learned", "general": "general text"}


def curves(runs: RunGroup) -> Figure | None:
    """Loss after the step against the learning rate, at some states."""
    panels = {}
    for run, name, seen in _landscapes(runs):
        order = np.argsort(seen.step.values)
        chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]
        for b, batch in enumerate(seen.batch.values):
            frame = pd.DataFrame(
                [
                    {"rate": rate, "loss": loss, "step": f"step {step:,}"}
                    for at in chosen
                    for step, rate, loss in zip(
                        [int(seen.step.values[at])] * seen.sizes["learning_rate"],
                        seen.learning_rate.values,
                        _capped(seen.loss.values[at, b], float(seen.loss_before.values[at, b])),
                        strict=True,
                    )
                ]
            ).dropna()
            steps = list(dict.fromkeys(frame["step"]))
            panels[_title(_NAMES[str(batch)], run, name, runs)] = (
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
        caption="Loss in evaluation mode after the step that the optimizer would take at each learning rate. Losses of "
        "more than 1.15 times the one before are left out. A single measurement each: no interval.",
        chart=panels,
        section="curves",
        order=70,
    )


def heat(runs: RunGroup) -> Figure | None:
    """Relative decrease of the new text's loss over training, by learning rate."""
    panels = {}
    for run, name, seen in _landscapes(runs):
        decrease = seen.decrease.sel(batch="new").values
        most = max(float(np.nanmax(decrease)), 1e-6)
        frame = pd.DataFrame(
            [
                {
                    "step": f"{int(step):,}",
                    "rate": f"{rate:.1e}",
                    "decrease": float(np.clip(decrease[c, r], -most, None)),
                }
                for c, step in enumerate(seen.step.values)
                for r, rate in enumerate(seen.learning_rate.values)
            ]
        ).dropna()
        if seen.sizes["checkpoint"] < 2 or frame.empty:
            continue
        rates = list(dict.fromkeys(frame["rate"]))
        steps = list(dict.fromkeys(frame["step"]))
        panels[_title("", run, name, runs)] = (
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
        "state at each rate; an increase beyond the largest decrease is drawn as that much. A single measurement each.",
        chart=panels,
        section="curves",
        order=71,
    )


def _landscapes(runs: RunGroup) -> Iterator[tuple[RunView, str, Any]]:
    """Runs that measured it, by the names of the measures, with what they saw."""
    for run in runs.runs:
        for name in run.measures:
            seen = run.measure(name)
            if seen.attrs.get("kind") == "lr_landscape" and "not_assessable" not in seen.attrs:
                yield run, name, seen


def _title(what: str, run: RunView, name: str, runs: RunGroup) -> str:
    parts = [what, name if name != "lr_landscape" else "", run.name if len(runs.runs) > 1 else ""]
    return " · ".join(part for part in parts if part)


def _capped(losses: np.ndarray, before: float) -> np.ndarray:
    return np.where(losses > MOST * before, np.nan, losses)
