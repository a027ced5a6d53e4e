"""What controls aimed at or predicted, beside what came of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import HEIGHT, Panel, rounded, step_axis
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup, RunView

Settings = Mapping[str, Any]
"""A control as the recipe has it."""
_DECREASES = (
    "Decreases of the loss: as predicted before a step, and as measured on the same passages after it (a mean per step "
    "where decisions are some steps apart)."
)
_SHARES = "Shares of replay: the mean of those decided so far, and the share replayed so far."
_AIM = "Dashed: what the control aims at, or the value at which it acts."


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """One panel: lines over steps by what they are, and the value that was aimed at."""

    title: str
    axis: str
    share: bool
    """Are the values shown in per cent?"""
    lines: Mapping[str, pd.DataFrame]
    """Columns step, value."""
    aim: float | None = None
    about: str = ""
    """What the lines are, for the caption."""


def predicted_and_realised(runs: RunGroup) -> Figure | None:
    """Every control of a run: decreases, shares of replay, rise of the general loss, growth and evenness of drift."""
    panels: dict[str, Panel] = {}
    said: list[str] = []
    for run in runs.runs:
        for lines in _of_run(run):
            title = lines.title if len(runs.runs) == 1 else f"{run.name}, {lines.title}"
            panels[title] = _chart(runs, lines)
            said += [lines.about, _AIM if lines.aim is not None else ""]
    if not panels:
        return None
    return Figure(
        title="What was decided, and what came of it",
        caption=" ".join(
            [text for text in (_DECREASES, _SHARES, _AIM) if text in said] + ["One run's own numbers: no interval."]
        ),
        chart=panels,
        section="forgetting",
        order=5,
    )


def _of_run(run: RunView) -> Iterator[_Lines]:
    for control in (run.recipe.get("train") or {}).get("controls") or ():
        kind = str(control["kind"])
        if (decrease := _decrease(run, kind, control)) is not None:
            yield decrease
        yield from _shares(run, kind)
        for name, title, axis, share, aim in (
            ("excess", "rise of the general loss", "of its value at the start", True, control.get("bound")),
            ("growth", "growth of the drift", "of that at first", True, control.get("growth")),
            ("ratio", "drift of the first block over that of the last", "", False, 1.0),
        ):
            series = _series(run, f"{kind}_{name}")
            if series is not None:
                yield _Lines(title=f"{kind}: {title}", axis=axis, share=share, lines={"measured": series}, aim=aim)


def _decrease(run: RunView, kind: str, control: Settings) -> _Lines | None:
    """Predicted and realised decrease per step. What a decision realised is recorded with the decision after it."""
    predicted, after = _series(run, f"{kind}_predicted"), _series(run, f"{kind}_realised")
    if predicted is None or after is None:
        return None
    decided = _series(run, f"{kind}_rate")
    steps = (predicted if decided is None else decided)["step"].to_numpy()
    before = np.array([steps[steps < step].max() if (steps < step).any() else -1 for step in after["step"]])
    apart = after["step"].to_numpy() - before
    per_step = 1 - (1 - after["value"].to_numpy()) ** (1 / apart)
    realised = pd.DataFrame({"step": before, "value": per_step})[before >= 0]
    return _Lines(
        title=f"{kind}: decrease of the loss in a step",
        axis="of the loss before it",
        share=True,
        lines={"predicted": predicted, "realised": realised},
        aim=control.get("target"),
        about=_DECREASES,
    )


def _shares(run: RunView, kind: str) -> Iterator[_Lines]:
    """Decided and realised share of each replay corpus, as means so far, in the unit in which shares are decided."""
    tokens = _series(run, "tokens_seen")
    repeats = int((run.recipe.get("train") or {}).get("repeats") or 1)
    for name in run.metrics:
        corpus = name.removeprefix(f"{kind}_share_")
        decided, of_tokens = _series(run, name), _series(run, f"replayed_{corpus}")
        of_examples = _series(run, f"replayed_examples_{corpus}")
        replayed = of_tokens if of_examples is None else of_examples
        if corpus == name or tokens is None or decided is None or replayed is None or len(tokens) < 2:
            continue
        size = pd.Series(np.diff(tokens["value"].to_numpy()), index=tokens["step"].to_numpy()[:-1])
        steps = np.array([step for step in replayed["step"] if step in size.index])
        weight = size[steps].to_numpy() if of_examples is None else np.ones(len(steps))  # batches are equally large
        from_step = -(-decided["step"].to_numpy() // repeats) * repeats  # repeats of a batch that has begun stay
        in_force = decided["value"].to_numpy()[np.searchsorted(from_step, steps, side="right") - 1]
        got = replayed.set_index("step")["value"][steps].to_numpy()
        lines = {
            what: pd.DataFrame({"step": steps, "value": np.cumsum(values * weight) / np.cumsum(weight)})
            for what, values in (("decided", in_force), ("realised", got))
        }
        unit = "tokens" if of_examples is None else "examples"
        title, axis = f"{kind}: share of {corpus}", f"of the {unit} so far"
        yield _Lines(title=title, axis=axis, share=True, lines=lines, about=_SHARES)


def _series(run: RunView, name: str) -> pd.DataFrame | None:
    """Finite values of a number of the training by step; None without any."""
    rows = run.metrics.get(name)
    if rows is None:
        return None
    rows = rows[rows["scope"] == "train"].drop_duplicates("step", keep="last").sort_values("step")
    rows = rows[np.isfinite(rows["value"])]
    return None if rows.empty else rows[["step", "value"]]


def _chart(runs: RunGroup, lines: _Lines) -> Panel:
    names = list(lines.lines)
    table = pd.concat([frame.assign(of=name) for name, frame in lines.lines.items()], ignore_index=True)
    form = ".3~%" if lines.share else "~g"
    value = alt.Y("value:Q", title=lines.axis or None, axis=alt.Axis(format=form), scale=alt.Scale(zero=False))
    legend = alt.Legend() if len(names) > 1 else None
    colour = alt.Color("of:N", title=None, scale=alt.Scale(domain=names), legend=legend)
    number = ".4~%" if lines.share else ".4g"
    tooltip = [alt.Tooltip("of:N"), alt.Tooltip("step:Q", format=",d"), alt.Tooltip("value:Q", format=number)]
    base = alt.Chart().encode(step_axis(runs), value, colour, tooltip=tooltip)
    layers: list[alt.Chart] = [base.mark_line(point=len(table) < 100)]
    if lines.aim is not None:
        layers.insert(0, alt.Chart().mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(y=alt.datum(lines.aim)))
    return alt.layer(*layers, data=rounded(table, 4)).properties(height=HEIGHT)
