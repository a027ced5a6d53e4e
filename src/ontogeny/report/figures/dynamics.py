"""Compression of the layers beside what is memorized."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.core.errors import StoreError
from ontogeny.report.figure import Figure
from ontogeny.report.figures._frame import HEIGHT, INDEPENDENT, Axis, interval_note, rounded, trajectory
from ontogeny.store.run_group import RunGroup, RunView

MOST_POINTS = 40
"""Passages of a group that are drawn as points."""
SHOWN = 6
"""Single passages, and moments of the scatter."""
_LABELS = ("memorized", "trained, not memorized", "novel")
_SHARE: dict[str, Any] = {"axis": alt.Axis(format=".0%"), "scale": alt.Scale(domain=[0, 1])}
_EPOCH = alt.X("epoch:Q", title="epoch", scale=alt.Scale(type="symlog", nice=False), axis=alt.Axis(format="~g"))


def memorized_share(runs: RunGroup) -> Figure | None:
    """Share of passages whose continuation the model writes by itself."""
    chart = trajectory(runs, "reproduction/share_memorized", Axis("share of passages", ".1%"))
    if chart is None:
        return None
    return Figure(
        title="Reproduced passages",
        caption="Share of passages of which greedy decoding, given the first third, writes enough of the rest to count "
        "as memorized. " + interval_note(runs, f"95% Wilson intervals, {INDEPENDENT}"),
        chart=chart,
        section="memorization",
        order=5,
        metrics=tuple(
            f"reproduction/{one}"
            for one in (
                "share_memorized",
                "share_memorized_low",
                "share_memorized_high",
                "n",
                "skipped",
                "mean_edit_distance",
                "median_accuracy",
                "mean_accuracy",
            )
        ),
    )


def trajectories(runs: RunGroup) -> Figure | None:
    """Change of compression in every layer, by group, with single passages behind."""
    for run, groups, table in _analyzed(runs):
        panels = {}
        labels = _groups(table, groups)
        for i, block in enumerate(table.layer):
            change = table.score[:, i] - table.score[0, i]
            panels[f"block {block} to {block + 1}"] = _bands(table.epoch, change, labels)
        return Figure(
            title="Compression over epochs",
            caption="Change of a passage's mean compression score since checkpoint 0, in nats, by group (status at "
            f"step {groups['status_step']:,}). Lines: means; bands: 95% intervals (±1.96 standard errors "
            f"over passages, {INDEPENDENT}); points: up to {MOST_POINTS} passages of each group.{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=10,
        )
    return None


def heat(runs: RunGroup) -> Figure | None:
    """Difference of differences by layer and epoch; what is significant is marked."""
    for run, groups, _ in _analyzed(runs):
        panels = {}
        for name, title in (("exposure", "trained − novel"), ("memorization", "memorized − trained only")):
            one = groups["contrasts"][name]
            if "lacks" not in one:
                panels[title] = _map(groups, one)
        if not panels:
            continue
        return Figure(
            title="Where layers change",
            caption="Difference of the groups' changes since checkpoint 0, in nats. A dot marks p < 0.05, corrected "
            f"over all cells by max-T permutation of the labels over documents.{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=20,
        )
    return None


def against_compression(runs: RunGroup) -> Figure | None:
    """Reproduction against compression, passage by passage, at several checkpoints."""
    for run, groups, table in _analyzed(runs):
        one = groups["contrasts"]["exposure"]
        layer = one.get("best_layer", len(table.layer) - 1)
        chosen = np.unique(np.linspace(1, len(table.step) - 1, min(4, len(table.step) - 1)).round().astype(int))
        panels = {}
        for at in chosen:
            frame = pd.DataFrame(
                {
                    "change": table.score[at, layer] - table.score[0, layer],
                    "accuracy": table.accuracy[at],
                    "group": np.where(table.trained, "trained", "novel"),
                    "passage": table.name,
                }
            ).dropna()
            panels[f"epoch {table.epoch[at]:g}"] = (
                alt.Chart(rounded(frame, 4))
                .mark_circle(size=36, opacity=0.6)
                .encode(
                    alt.X("change:Q", title="change of compression", scale=alt.Scale(zero=False)),
                    alt.Y("accuracy:Q", title="reproduced", **_SHARE),
                    alt.Color("group:N", title=None, sort=["trained", "novel"]),
                    tooltip=["passage:N", "group:N", "change:Q", "accuracy:Q"],
                )
                .properties(height=HEIGHT)
            )
        return Figure(
            title="Reproduction against compression",
            caption=f"Each point is a passage: share of its continuation that is reproduced, against the change of its "
            f"compression at block {table.layer[layer]}.{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=30,
        )
    return None


def onset(runs: RunGroup) -> Figure | None:
    """Share of trained passages memorized by each epoch, from what is known of their onsets."""
    rows = []
    for run in runs.runs:
        found = run.analyses.get("onset", {}).get("numbers")
        if not found or not found.get("times"):
            continue
        for time, share in zip([0.0, *found["times"]], [0.0, *found["curve"]], strict=True):
            if time is not None:
                rows.append({"epoch": max(time, 0.0), "share": share, "run": run.name})
    if not rows:
        return None
    colour = [alt.Color("run:N", title=None)] if len(runs.runs) > 1 else []
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(interpolate="step-after", point=True)
        .encode(
            _EPOCH,
            alt.Y("share:Q", title="memorized by then", **_SHARE),
            *colour,
            tooltip=["run:N", "epoch:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=HEIGHT)
    )
    return Figure(
        title="Onset of memorization",
        caption="Turnbull's estimate of the share of trained passages that are memorized from then on, by epoch. "
        "An onset is known only to lie between two checkpoints; between them the curve is not known.",
        chart=chart,
        section="dynamics",
        order=40,
    )


def velocity(runs: RunGroup) -> Figure | None:
    """How fast each layer's compression of trained passages changes."""
    for run in runs.runs:
        found = run.analyses.get("velocity", {}).get("numbers")
        if not found or "velocity" not in found:
            continue
        rows = [
            {
                "epoch": epoch,
                "value": found["velocity"][i][c],
                "low": found["low"][i][c],
                "high": found["high"][i][c],
                "layer": f"block {block}",
            }
            for i, block in enumerate(found["layer"])
            for c, epoch in enumerate(found["epoch"])
        ]
        base = alt.Chart(rounded(pd.DataFrame(rows), 5)).encode(_EPOCH, alt.Color("layer:N", title=None))
        band = base.mark_area(opacity=0.15).encode(alt.Y("low:Q", title="nats per epoch"), alt.Y2("high:Q"))
        line = base.mark_line(point=True).encode(alt.Y("value:Q", title="nats per epoch"))
        return Figure(
            title="Velocity of compression",
            caption="First derivative of the mean compression of trained passages on the uneven grid of checkpoints. "
            f"Bands: 95% bootstrap over {found['n']} documents.{_of(runs, run)}",
            chart=(band + line).properties(height=HEIGHT),
            section="dynamics",
            order=50,
        )
    return None


def single_passages(runs: RunGroup) -> Figure | None:
    """Single passages: what is reproduced, and the compression of one layer."""
    for run, groups, table in _analyzed(runs):
        layer = groups["contrasts"]["exposure"].get("best_layer", len(table.layer) - 1)
        known = np.flatnonzero(table.trained & np.isfinite(table.accuracy).all(axis=0))
        if not len(known):
            continue
        order = known[np.argsort(-table.accuracy[:, known].mean(axis=0), kind="stable")]
        panels = {}
        for at in order[np.unique(np.linspace(0, len(order) - 1, min(SHOWN, len(order))).round().astype(int))]:
            frame = pd.DataFrame(
                {"epoch": table.epoch, "reproduced": table.accuracy[:, at], "compression": table.score[:, layer, at]}
            )
            base = alt.Chart(rounded(frame, 4)).encode(_EPOCH)
            written = base.mark_line(point=True).encode(alt.Y("reproduced:Q", **_SHARE), color=alt.datum("reproduced"))
            drawn = base.mark_line(point=True, strokeDash=[4, 3]).encode(
                alt.Y(
                    "compression:Q", title="compression (nats)", scale=alt.Scale(zero=False), axis=alt.Axis(grid=False)
                ),
                color=alt.datum("compression"),
            )
            both = alt.layer(written, drawn).resolve_scale(y="independent").properties(height=150)
            panels[f"{table.name[at]} · {table.source[at]}"] = both
        return Figure(
            title="Single passages",
            caption=f"Trained passages from the one reproduced earliest to the one reproduced least: share reproduced "
            f"(solid, left) and compression at block {table.layer[layer]} (dashed, right).{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=60,
        )
    return None


def _analyzed(runs: RunGroup) -> Iterator[tuple[RunView, dict[str, Any], Any]]:
    """Runs whose groups were compared, with the numbers, and the passages they rest on."""
    from ontogeny.analyses.recorded.passages import passages_of

    for run in runs.runs:
        found = run.analyses.get("groups", {}).get("numbers")
        if not found:
            continue
        try:
            table = passages_of(run, score=found["score"])
        except StoreError:
            continue
        if len(table.step) == len(found["step"]):
            yield run, found, table


def _groups(table: Any, groups: dict[str, Any]) -> np.ndarray:
    """Each passage's group; an empty text for skipped ones."""
    status = table.memorized[list(table.step).index(groups["status_step"])]
    trained = np.where(np.isnan(status), "", np.where(status > 0.5, _LABELS[0], _LABELS[1]))
    return np.where(table.trained, trained, _LABELS[2])


def _bands(epoch: np.ndarray, values: np.ndarray, labels: np.ndarray) -> Any:
    """Means with intervals, and points. `values` [C, P]."""
    rows, points = [], []
    for label in _LABELS:
        own = values[:, labels == label]
        if not own.shape[1]:
            continue
        error = own.std(axis=1, ddof=1) / np.sqrt(own.shape[1]) if own.shape[1] > 1 else np.full(len(own), np.nan)
        for e, mean, half in zip(epoch, own.mean(axis=1), 1.96 * error, strict=True):
            rows.append({"epoch": e, "value": mean, "low": mean - half, "high": mean + half, "group": label})
        points += [
            {"epoch": e, "value": value, "group": label} for c, e in enumerate(epoch) for value in own[c, :MOST_POINTS]
        ]
    colour = alt.Color("group:N", title=None, sort=list(_LABELS), scale=alt.Scale(domain=list(_LABELS)))
    dots = alt.Chart(rounded(pd.DataFrame(points), 3)).mark_circle(size=9, opacity=0.25)
    base = alt.Chart(rounded(pd.DataFrame(rows), 4))
    chart = alt.layer(
        dots.encode(_EPOCH, alt.Y("value:Q", title="nats"), colour),
        base.mark_area(opacity=0.2).encode(_EPOCH, alt.Y("low:Q"), alt.Y2("high:Q"), colour),
        base.mark_line(point=True).encode(_EPOCH, alt.Y("value:Q"), colour, tooltip=["group:N", "epoch:Q", "value:Q"]),
    )
    return chart.properties(height=HEIGHT)


def _map(groups: dict[str, Any], contrast: dict[str, Any]) -> Any:
    rows = [
        {
            "epoch": f"{epoch:g}",
            "block": f"block {block}",
            "value": contrast["value"][c][i],
            "p": contrast["p_corrected"][c][i],
        }
        for c, epoch in enumerate(groups["epoch"][1:])
        for i, block in enumerate(groups["layer"])
    ]
    frame = rounded(pd.DataFrame(rows), 4)
    most = float(np.nanmax(np.abs(frame["value"]))) or 1.0
    epochs = _in_order(frame["epoch"])
    place = {
        "x": alt.X("epoch:O", sort=epochs, title="epoch", axis=alt.Axis(labelAngle=0)),
        "y": alt.Y("block:N", title=None, sort=_in_order(frame["block"])[::-1]),
    }
    cells = (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            **place,
            color=alt.Color("value:Q", title="nats", scale=alt.Scale(scheme="blueorange", domain=[-most, most])),
            tooltip=["block:N", "epoch:N", "value:Q", "p:Q"],
        )
    )
    dots = alt.Chart(frame[frame["p"] < 0.05]).mark_circle(size=40, color="black").encode(**place)
    return (cells + dots).properties(height=max(110, 28 * len(groups["layer"])))


def _in_order(values: "Sequence[str] | pd.Series[Any]") -> list[str]:
    return list(dict.fromkeys(values))


def _of(runs: RunGroup, run: RunView) -> str:
    return f" Run: {run.name}." if len(runs.runs) > 1 else ""
