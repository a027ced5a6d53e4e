"""A student and its teacher: agreement, what each term adds, and which terms pull against which."""

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.report.charts import HEIGHT, Axis, Panel, interval_note, rounded, trajectory
from ontogeny.report.figure import Figure
from ontogeny.report.heat_maps import CELL_HEIGHT, STEPS, block_names, colour
from ontogeny.report.term_weights import taught, weighted_terms
from ontogeny.store.run_group import RunGroup

if TYPE_CHECKING:
    import xarray as xr

SECTION = "distillation"
AGREEMENT = "agreement"
GRADIENTS = "term_gradients"
NLL = "nll"
MOST_RUNS = 4
BINS = 200


def agreement(runs: RunGroup) -> Figure | None:
    """KL to the teacher at temperature 1, same first choice, overlap of first choices, NLL of both."""
    axes = {
        "KL(teacher || student), T = 1": ("kl", Axis("nats per token")),
        "same first choice": ("top1", Axis("share of tokens", ".1%")),
        "teacher's first choices among the student's": ("top_k", Axis("share of ids", ".1%")),
        "NLL of the student": ("nll", Axis("nats per token")),
        "NLL of the teacher": ("teacher_nll", Axis("nats per token")),
    }
    charts: dict[str, Panel] = {}
    for title, (variable, axis) in axes.items():
        chart = trajectory(runs, f"{AGREEMENT}/{variable}", axis)
        if isinstance(chart, dict):
            charts |= {f"{title}, {scope}": panel for scope, panel in chart.items()}
        elif chart is not None:
            charts[title] = chart
    if not charts:
        return None
    caption = (
        "On every probe set, over all tokens but each passage's first. The divergence is taken at temperature 1 over "
        "the full vocabulary, so it compares over training whatever the loss's temperature does. Agreement may rise "
        "without a lower NLL, so both are shown."
    )
    return Figure(
        title="Agreement with the teacher",
        caption=f"{caption} {interval_note(runs, '')}".strip(),
        chart=charts,
        section=SECTION,
        order=10,
        metrics=tuple(f"{AGREEMENT}/{variable}" for variable, _ in axes.values()),
    )


def what_terms_add(runs: RunGroup) -> Figure | None:
    """Weight times value of each term, and the value by itself, on each step's batch."""
    charts: dict[str, alt.Chart] = {}
    for run in taught(runs)[:MOST_RUNS]:
        frame = weighted_terms(run)
        if frame["term"].nunique() < 2:
            continue
        where = f", {run.name}" if len(runs.runs) > 1 else ""
        charts[f"weighted{where}"] = _by_term(frame, "weighted", "nats per unit")
        charts[f"by itself{where}"] = _by_term(frame, "raw", "nats per unit")
        charts[f"weight{where}"] = _by_term(frame, "weight", "")
    if not charts:
        return None
    caption = (
        "Each term of the loss on the steps' batches, with its weight at that step and without. A line is broken where "
        f"the weight is 0: the term is not optimised, and not computed. Points average steps in at most {BINS} bins."
    )
    return Figure(title="What each term adds", caption=caption, chart=charts, section=SECTION, order=20)


def against_the_nll(runs: RunGroup) -> Figure | None:
    """Cosine of each term's gradient with that of the plain NLL, by block and step."""
    charts = {}
    for run, data in _measured(runs):
        for term in [str(name) for name in data["term"].values if str(name) != NLL]:
            cosine = data["cosine"].sel(term=term, other=NLL, drop=True)
            ceiling = data["cosine"].sel(term=term, other=term, drop=True)
            names = block_names(data["block"].to_numpy())
            frame = _frame(cosine, ceiling)
            frame["row"] = frame["block"].map(names)
            order = [names[block] for block in sorted(names, reverse=True)]
            if not frame.empty:
                charts[term + (f", {run}" if len(runs.runs) > 1 else "")] = _cosine_map(frame, order)
    if not charts:
        return None
    caption = (
        "Cosine between the gradient of the term and that of the plain next-token NLL, on two halves of the next "
        "step's batch without common documents. Below 0 the term works against the goal in that block. Noise lowers "
        "it: on hover stands the same term's cosine with itself between halves, which it cannot exceed by much."
    )
    return Figure(title="With the goal, or against it", caption=caption, chart=charts, section=SECTION, order=30)


def between_terms(runs: RunGroup) -> Figure | None:
    """Cosine between the gradients of each pair of terms over all weights, and shares of the step."""
    charts = {}
    for run, data in _measured(runs):
        where = f", {run}" if len(runs.runs) > 1 else ""
        names = [str(name) for name in data["term"].values]
        parts = []
        for i, term in enumerate(names):
            for other in names[i:]:
                pair = data["cosine_all"].sel(term=term, other=other, drop=True)
                row = f"{term} with itself" if term == other else f"{term} and {other}"
                parts.append(_frame(pair, pair).assign(row=row))
        frame = pd.concat(parts, ignore_index=True)
        if not frame.empty:
            charts[f"cosine{where}"] = _cosine_map(frame, list(dict.fromkeys(frame["row"])))
        shares = data["share"].to_dataframe().reset_index()[["step", "term", "share"]].dropna()
        if shares["term"].nunique() > 1:
            charts[f"share of the step{where}"] = _by_term(shares, "share", "share")
    if not charts:
        return None
    caption = (
        "Cosine between the gradients of each pair of terms across two independent halves of the next step's batch, "
        "over all weights; a term with itself is the ceiling. Share: w g_i · g / |g|² of the weighted gradient; shares "
        "add up to 1, and one below 0 works against the step."
    )
    return Figure(title="Terms among themselves", caption=caption, chart=charts, section=SECTION, order=40)


def _measured(runs: RunGroup) -> "list[tuple[str, xr.Dataset]]":
    return [(run.name, data.load()) for _, run, data in runs.measures(GRADIENTS)[:MOST_RUNS]]


def _frame(cosine: "xr.DataArray", ceiling: "xr.DataArray") -> pd.DataFrame:
    """Columns step, cosine, ceiling (and block, where it is an axis), without what is no number."""
    both = pd.DataFrame(
        {"cosine": cosine.to_series(), "ceiling": ceiling.to_series()}
        if cosine.ndim > 1
        else {"cosine": cosine.to_numpy(), "ceiling": ceiling.to_numpy()}
    )
    steps = cosine["step"].to_numpy()
    if cosine.ndim > 1:
        both = both.reset_index()
        both["step"] = steps[both["checkpoint"].to_numpy(int)] if "step" not in both else both["step"]
    else:
        both["step"] = steps
    kept = [name for name in ("step", "block", "cosine", "ceiling") if name in both]
    return both[kept][np.isfinite(both["cosine"])]


def _cosine_map(frame: pd.DataFrame, order: list[str]) -> alt.Chart:
    """Cells by step and row, with 0 in the middle of the colours."""
    hover = [
        alt.Tooltip("row:N", title="of"),
        alt.Tooltip("step:O", title="step"),
        alt.Tooltip("cosine:Q", format=".3f"),
        alt.Tooltip("ceiling:Q", title="with itself", format=".3f"),
    ]
    scale = alt.Scale(domain=[-1, 1], domainMid=0)
    chart = alt.Chart(rounded(frame[["step", "row", "cosine", "ceiling"]], 4)).mark_rect()
    return chart.encode(
        alt.X("step:O", axis=STEPS),
        alt.Y("row:N", title=None, sort=order, axis=alt.Axis(grid=False, labelLimit=220)),
        colour("cosine", "cosine", scale),
        tooltip=hover,
    ).properties(height=max(110, min(CELL_HEIGHT * len(order), 520)))


def _by_term(frame: pd.DataFrame, value: str, title: str) -> alt.Chart:
    """A line per term over steps; broken where there is no value."""
    span = int(frame["step"].max() - frame["step"].min()) + 1
    width = max(1, -(-span // BINS))
    binned = frame.assign(bin=frame["step"] // width).groupby(["term", "bin"], sort=False)
    table = binned.agg(step=("step", "mean"), value=(value, "mean")).reset_index()[["term", "step", "value"]]
    hover = [alt.Tooltip("term:N"), alt.Tooltip("step:Q", format=",d"), alt.Tooltip("value:Q", format=".4f")]
    return (
        alt.Chart(rounded(table))
        .mark_line(invalid="break-paths-filter-domains")
        .encode(
            alt.X("step:Q", title="step", scale=alt.Scale(nice=False)),
            alt.Y("value:Q", title=title or None, scale=alt.Scale(zero=False)),
            alt.Color("term:N", title=None, sort=list(dict.fromkeys(table["term"]))),
            tooltip=hover,
        )
        .properties(height=HEIGHT)
    )
