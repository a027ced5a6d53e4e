"""The loss of the batches trained on, of every probe set, and the gap between trained and unseen text."""

import numpy as np
import pandas as pd

from ontogeny.report.charts import Axis, draw, interval_note, over_seeds, per_step, trajectory
from ontogeny.report.document_intervals import gap_name, of_gaps, of_losses
from ontogeny.report.figure import Figure
from ontogeny.store.run_group import RunGroup, roles

NLL = "evaluation/nll"
OBJECTIVE = "evaluation/objective"


def probe_loss(runs: RunGroup) -> Figure | None:
    """NLL of every probe set at every checkpoint."""
    bars = of_losses(runs)
    chart = trajectory(runs, NLL, Axis("nats per token"), bars=bars.frame)
    if chart is None:
        return None
    same = _objective_is_loss(runs)
    redundant = _variables(runs, "evaluation", ("objective", "term_")) if same else []
    caption = "Mean negative log-likelihood (NLL) per token of each probe set, at every checkpoint."
    return Figure(
        title="Loss on every probe set",
        caption=f"{caption} {interval_note(runs, bars.note)} {bars.remark}".strip(),
        chart=chart,
        section="curves",
        order=10,
        metrics=(NLL, "evaluation/perplexity", "evaluation/bits_per_byte", "evaluation/n_tokens", *redundant),
    )


def generalisation_gap(runs: RunGroup) -> Figure | None:
    """NLL of unseen text minus NLL of trained text, from the same corpus."""
    bars = of_gaps(runs, _pairs(runs))
    chart = draw(runs, over_seeds(runs, _gap(runs, bars.frame)), Axis("nats per token", reference=0.0))
    if chart is None:
        return None
    caption = (
        "NLL of unseen text minus NLL of the trained text. At the dashed line the model does as well on unseen text. "
        + interval_note(runs, bars.note)
    )
    return Figure(title="Generalisation gap", caption=caption, chart=chart, section="curves", order=20)


def first_choice(runs: RunGroup) -> Figure | None:
    """Share of tokens that are the model's first choice."""
    chart = trajectory(runs, "evaluation/top1", Axis("share of tokens", ".1%"))
    if chart is None:
        return None
    caption = f"How often the true next token is the model's first choice. {interval_note(runs, '')}"
    metrics = ("evaluation/top1",)
    return Figure(title="First choice right", caption=caption, chart=chart, section="curves", order=40, metrics=metrics)


def training_loss(runs: RunGroup) -> Figure | None:
    """The objective on each step's batch, before the update."""
    rows = runs.scalars("loss", ["train"])
    rows = rows[np.isfinite(rows["value"].to_numpy(float))]
    if rows.empty:
        return None
    chart, width = per_step(runs, rows, Axis("nats per unit", ".4f"))
    caption = "The objective on each step's batch, before the update."
    if width > 1:
        caption += f" Each point is the mean of {width} steps; the area is their range."
    metrics = ("loss", "epoch", "supervised_tokens", "tokens_seen")
    return Figure(title="Training loss", caption=caption, chart=chart, section="curves", order=30, metrics=metrics)


def objective(runs: RunGroup) -> Figure | None:
    """What training minimises, on every probe set; None where that is the NLL."""
    chart = None if _objective_is_loss(runs) else trajectory(runs, OBJECTIVE, Axis("nats per unit"))
    if chart is None:
        return None
    caption = "The composed objective on the probe sets, with the weights that its terms have at that step."
    return Figure(
        title="Objective on every probe set",
        caption=f"{caption} {interval_note(runs, '')}",
        chart=chart,
        section="curves",
        order=35,
        metrics=(OBJECTIVE,),
    )


def _variables(runs: RunGroup, kind: str, beginnings: tuple[str, ...]) -> list[str]:
    """<kind>/<variable> of what a kind of measure recorded, for variables that begin with one of `beginnings`."""
    groups = {run.group_of(kind) for run in runs.runs}
    named = [name.partition("/") for name in runs.metric_names]
    return [f"{kind}/{variable}" for group, _, variable in named if group in groups and variable.startswith(beginnings)]


def _objective_is_loss(runs: RunGroup) -> bool:
    """Is the objective the NLL, to rounding?"""
    both = runs.scalars(OBJECTIVE).merge(runs.scalars(NLL), on=["run", "scope", "step"], suffixes=("", "_nll"))
    return bool(np.allclose(both["value"], both["value_nll"], rtol=1e-3, atol=1e-4, equal_nan=True))


def _pairs(runs: RunGroup) -> dict[str, list[tuple[str, str]]]:
    """By run: each held-out probe set with the trained one that it is compared with."""
    pairs = {}
    for _, run in runs.each():
        role = roles(run)
        trained = next((name for name in runs.probe_names if role.get(name) == "trained"), None)
        held_out = [name for name in runs.probe_names if role.get(name) == "held out"]
        pairs[run.name] = [(name, trained) for name in held_out if trained is not None]
    return pairs


def _gap(runs: RunGroup, bars: pd.DataFrame | None) -> pd.DataFrame:
    """One row per run, step and held-out set; `scope` names the two sets, `low` and `high` are the 95% interval.

    The ends are `bars` (run, scope, step, low, high) where they are given, else from stored standard errors.
    """
    columns = ["band", "run", "scope", "step", "epoch", "value", "low", "high"]
    parts = []
    losses = _with_error(runs)
    for name, pairs in _pairs(runs).items():
        rows = losses[losses["run"] == name]
        for unseen, trained in pairs:
            base = rows[rows["scope"] == trained][["step", "value", "half"]]
            both = rows[rows["scope"] == unseen].merge(base, on="step", suffixes=("", "_trained"))
            gap = both["value"] - both["value_trained"]
            half = np.hypot(both["half"], both["half_trained"])
            both = both.assign(scope=gap_name(unseen, trained), value=gap, low=gap - half, high=gap + half)
            if bars is not None:
                both = both.drop(columns=["low", "high"]).merge(bars, on=["run", "scope", "step"], how="left")
            parts.append(both[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _with_error(runs: RunGroup) -> pd.DataFrame:
    """NLL of every probe set; `half` is half the width of the 95% interval."""
    error = runs.scalars(f"{NLL}_se")[["run", "scope", "step", "value"]].rename(columns={"value": "half"})
    joined = runs.scalars(NLL).merge(error, on=["run", "scope", "step"], how="left")
    return joined.assign(half=1.96 * joined["half"].astype(float))
