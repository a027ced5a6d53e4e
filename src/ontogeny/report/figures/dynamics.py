"""Compression of the layers, and what is memorized."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from ontogeny.core.errors import StoreError
from ontogeny.report.charts import HEIGHT, Axis, Panel, interval_note, rounded, trajectory
from ontogeny.report.document_intervals import of_flags
from ontogeny.report.figure import Figure
from ontogeny.report.stored_numbers import Numbers, numbers_of
from ontogeny.statistics.estimates import sample
from ontogeny.statistics.paired import paired_difference
from ontogeny.store.run_group import RunGroup, RunView

if TYPE_CHECKING:
    from ontogeny.analyses.recorded.passages import Passages

MOST_POINTS = 40
"""Most passages of a group that are drawn as points."""
SHOWN = 6
"""Most single passages that are drawn."""
_LABELS = ("memorized", "trained, not memorized", "novel")
_EPOCH = alt.X("epoch:Q", title="epoch", scale=alt.Scale(type="symlog", nice=False), axis=alt.Axis(format="~g"))


def memorized_share(runs: RunGroup) -> Figure | None:
    """Share of passages whose continuation greedy decoding reproduces."""
    bars = of_flags(runs, "reproduction", "memorized")
    chart = trajectory(runs, "reproduction/share_memorized", Axis("share of passages", ".1%"), bars=bars.frame)
    if chart is None:
        return None
    return Figure(
        title="Reproduced passages",
        caption="Share of passages of which greedy decoding, given the first third, writes enough of the rest to count "
        "as memorized. " + interval_note(runs, bars.note),
        chart=chart,
        section="memorization",
        order=5,
        metrics=tuple(
            f"reproduction/{variable}"
            for variable in (
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
            if np.isfinite(change).any():
                panels[f"block {block} to {block + 1}"] = _bands(table.epoch, change, labels, table.document)
        if not panels:
            continue
        return Figure(
            title="Compression over epochs",
            caption="Change of a passage's mean compression score since checkpoint 0, in nats, by group (status at "
            f"step {groups['status_step']:,}). Lines: means; bands: 95% t intervals over documents, paired with "
            f"checkpoint 0 ({_sizes(labels, table.document)}); points: up to {MOST_POINTS} passages of each group."
            f"{_not_measured(table)}{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=10,
        )
    return None


def heat(runs: RunGroup) -> Figure | None:
    """Difference of differences by layer and epoch, with significant cells marked."""
    for run, groups, table in _analyzed(runs):
        panels = {}
        for name, title in (("exposure", "trained − novel"), ("memorization", "memorized − trained only")):
            contrast = groups["contrasts"][name]
            if "lacks" not in contrast:
                panels[title] = _map(groups, contrast)
        if not panels:
            continue
        return Figure(
            title="Where layers change",
            caption="Difference of the groups' changes since checkpoint 0, in nats. A dot marks p < 0.05, corrected "
            f"over all cells by max-T permutation of the labels over documents.{_not_measured(table)}{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=20,
        )
    return None


def against_compression(runs: RunGroup) -> Figure | None:
    """Reproduction against compression, passage by passage, at several checkpoints."""
    for run, groups, table in _analyzed(runs):
        layer = _shown_layer(groups, table)
        if layer is None:
            continue
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
                    _share("accuracy", "reproduced"),
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
    """Share of trained passages memorized by each epoch, from onsets that are known between checkpoints."""
    rows = []
    for run in runs.runs:
        numbers = numbers_of(run, "onset")
        if not numbers.get("times"):
            continue
        for time, share in zip([0.0, *numbers["times"]], [0.0, *numbers["curve"]], strict=True):
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
            _share("share", "memorized by then"),
            *colour,
            tooltip=["run:N", "epoch:Q", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=HEIGHT)
    )
    return Figure(
        title="Onset of memorization",
        caption="Turnbull's estimate of the share of trained passages that are memorized from then on, by epoch. "
        "An onset is only known to lie between two checkpoints, so between them the curve is undetermined.",
        chart=chart,
        section="dynamics",
        order=40,
    )


def velocity(runs: RunGroup) -> Figure | None:
    """How fast each layer's compression of trained passages changes."""
    for run in runs.runs:
        numbers = numbers_of(run, "velocity")
        if "velocity" not in numbers:
            continue
        known = [i for i, row in enumerate(numbers["velocity"]) if any(value is not None for value in row)]
        lost = [f"block {block}" for i, block in enumerate(numbers["layer"]) if i not in known]
        rows = [
            {
                "epoch": epoch,
                "value": numbers["velocity"][i][c],
                "low": numbers["low"][i][c],
                "high": numbers["high"][i][c],
                "layer": f"block {numbers['layer'][i]}",
            }
            for i in known
            for c, epoch in enumerate(numbers["epoch"])
        ]
        if not rows:
            continue
        base = alt.Chart(rounded(pd.DataFrame(rows), 5)).encode(_EPOCH, alt.Color("layer:N", title=None))
        band = base.mark_area(opacity=0.15).encode(alt.Y("low:Q", title="nats per epoch"), alt.Y2("high:Q"))
        line = base.mark_line(point=True).encode(alt.Y("value:Q", title="nats per epoch"))
        return Figure(
            title="Velocity of compression",
            caption="First derivative of the mean compression of trained passages on the uneven grid of checkpoints. "
            f"Bands: 95% bootstrap over {numbers['n']} documents.{_no_number(lost)}{_of(runs, run)}",
            chart=(band + line).properties(height=HEIGHT),
            section="dynamics",
            order=50,
        )
    return None


def single_passages(runs: RunGroup) -> Figure | None:
    """Single passages: what is reproduced, and the compression of one layer."""
    for run, groups, table in _analyzed(runs):
        layer = _shown_layer(groups, table)
        if layer is None:
            continue
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
            written = base.mark_line(point=True).encode(
                _share("reproduced", "reproduced"), color=alt.datum("reproduced")
            )
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
            caption=f"Trained passages, from the most to the least reproduced on average: share reproduced "
            f"(solid, left) and compression at block {table.layer[layer]} (dashed, right).{_of(runs, run)}",
            chart=panels,
            section="dynamics",
            order=60,
        )
    return None


def _share(column: str, title: str) -> alt.Y:
    """A vertical axis from 0% to 100%."""
    return alt.Y(f"{column}:Q", title=title, axis=alt.Axis(format=".0%"), scale=alt.Scale(domain=[0, 1]))


def _analyzed(runs: RunGroup) -> Iterator[tuple[RunView, Numbers, "Passages"]]:
    """Runs with the numbers of their analysis of groups, and the passages that it compared."""
    from ontogeny.analyses.recorded.passages import passages_of

    for run in runs.runs:
        numbers = numbers_of(run, "groups")
        if not numbers:
            continue
        try:
            table = passages_of(run, score=numbers["score"])
        except StoreError:
            continue
        if len(table.step) == len(numbers["step"]):
            yield run, numbers, table


def _groups(table: "Passages", groups: Numbers) -> np.ndarray:
    """str [P]: each passage's group; empty for passages that were skipped."""
    status = table.memorized[list(table.step).index(groups["status_step"])]
    trained = np.where(np.isnan(status), "", np.where(status > 0.5, _LABELS[0], _LABELS[1]))
    return np.where(table.trained, trained, _LABELS[2])


def _sizes(labels: np.ndarray, document: np.ndarray) -> str:
    """Passages and documents of each group, ready to print."""
    groups = [(label, labels == label) for label in _LABELS]
    return ", ".join(
        f"{label} {sample(int(inside.sum()), 'passage', len(np.unique(document[inside])))}"
        for label, inside in groups
        if inside.any()
    )


def _measured(table: "Passages") -> np.ndarray:
    """bool [L]: layers whose compression is a number of some passage at every checkpoint."""
    return np.asarray(np.isfinite(table.score).any(axis=2).all(axis=0))


def _not_measured(table: "Passages") -> str:
    """A sentence on layers whose compression is no number."""
    return _no_number(
        [f"block {block}" for block, known in zip(table.layer, _measured(table), strict=True) if not known]
    )


def _no_number(blocks: list[str]) -> str:
    return f" Not measured, since it is no number there: {', '.join(blocks)}." if blocks else ""


def _shown_layer(groups: Numbers, table: "Passages") -> int | None:
    """The layer whose contrast is best, else the last one that was measured; None if none was."""
    known = np.flatnonzero(_measured(table))
    best = groups["contrasts"]["exposure"].get("best_layer")
    if best is not None and best in known:
        return int(best)
    return int(known[-1]) if len(known) else None


def _bands(epoch: np.ndarray, values: np.ndarray, labels: np.ndarray, document: np.ndarray) -> Panel:
    """Means with intervals over documents, and points. `values` is [C, P], `labels` and `document` [P]."""
    rows, points = [], []
    for label in _LABELS:
        inside = (labels == label) & np.isfinite(values).all(axis=0)
        group = values[:, inside]
        if not group.shape[1]:
            continue
        _, index = np.unique(document[inside], return_inverse=True)
        for e, passages in zip(epoch, group, strict=True):
            mean = paired_difference(np.bincount(index, weights=passages), np.bincount(index).astype(np.float64))
            rows.append({"epoch": e, "value": mean.value, "low": mean.low, "high": mean.high, "group": label})
        points += [
            {"epoch": e, "value": value, "group": label}
            for c, e in enumerate(epoch)
            for value in group[c, :MOST_POINTS]
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


def _map(groups: Numbers, contrast: Numbers) -> alt.LayerChart:
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
    most = float(np.nan_to_num(np.abs(frame["value"].to_numpy(float))).max()) or 1.0
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


def _in_order(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _of(runs: RunGroup, run: RunView) -> str:
    return f" Run: {run.name}." if len(runs.runs) > 1 else ""
