"""Charts of a number over training, for figures: one line per probe set or per configuration; seeds become a band.

`trajectory` draws a metric in one call. The other functions are its parts, for figures that need another table.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import altair as alt
import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ontogeny.statistics.estimates import SEEDS_FOR_T
from ontogeny.store.run_group import RunGroup

HEIGHT = 230
MOST_BARS = 200
"""With more points, intervals are drawn as an area."""
INDEPENDENT = "passages counted as independent"
"""What bars from stored standard errors assume, where a run did not record passages one by one."""
STANDARD_ERRORS = f"95% intervals (±1.96 standard errors over passages), {INDEPENDENT}"
BINS = 300
"""Most points of a line that has one value per optimizer step."""


Panel = alt.LayerChart | alt.FacetChart
"""What `altair.layer` returns."""
Trajectory = Panel | dict[str, Panel] | None
"""One chart; charts by probe set where configurations are compared; None without rows."""


@dataclass(frozen=True)
class Axis:
    """The vertical axis of a trajectory."""

    title: str
    number: str = ".3f"
    """Format of values on hover; one that ends in % makes the axis a percentage."""
    scale: Literal["linear", "log"] = "linear"
    reference: float | None = None
    """Value at which a dashed line stands."""

    def encode(self, low: float, top: float) -> alt.Y:
        """The encoding of the column `value`, whose values lie from `low` to `top`; shares begin at 0."""
        share = self.number.endswith("%")
        # The default rounds by the distance of labels: a constant 0.05, which has none, would be labelled 0. What
        # differs by no more than tables are rounded to is constant.
        constant = np.isclose(low, top, rtol=1e-5, atol=0)
        short = self.scale == "log" or abs(top) < 0.01 or constant
        axis = alt.Axis(format=".0%") if share else alt.Axis(format="~g") if short else alt.Axis()
        if self.scale == "log":
            limits = alt.Scale(type="log")
        else:
            limits = alt.Scale(domain=[0, max(0.1, 1.02 * top)]) if share else alt.Scale(zero=False)
        return alt.Y("value:Q", title=self.title or None, axis=axis, scale=limits)


def trajectory(
    runs: RunGroup,
    metric: str,
    axis: Axis,
    scopes: Iterable[str] | None = None,
    literal: bool = False,
    bars: pd.DataFrame | None = None,
) -> Trajectory:
    """One metric over steps. `metric` is <kind>/<variable>, or if `literal`, <group>/<variable> as it is stored.

    `bars`: ends of intervals (run, scope, step, low, high) in place of the stored ones.
    """
    frame = summarize(runs, metric, scopes, relative=axis.scale == "log", literal=literal, bars=bars)
    return draw(runs, frame[frame["value"] > 0] if axis.scale == "log" else frame, axis)


def draw(runs: RunGroup, frame: pd.DataFrame, axis: Axis) -> Trajectory:
    """The same from a table with the columns of `summarize`."""
    if frame.empty or not np.isfinite(frame["value"]).any():
        return None
    known = {name: i for i, name in enumerate(runs.probe_names)}
    scopes = sorted(frame["scope"].unique(), key=lambda name: (known.get(name, len(known)), name))
    if len(runs.bands) == 1:
        return _lines(runs, frame, "scope", list(dict.fromkeys([*runs.probe_names, *scopes])), axis)
    bands = [band.label for band in runs.bands]
    return {scope: _lines(runs, frame[frame["scope"] == scope], "band", bands, axis) for scope in scopes}


def summarize(
    runs: RunGroup,
    metric: str,
    scopes: Iterable[str] | None = None,
    relative: bool = False,
    literal: bool = False,
    bars: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Rows per run (`seeds` = 1), or per band and step: band, run, scope, step, epoch, value, low, high, seeds, kind.

    Rows of kind "mean" make the line and the band; rows of kind "run" are the single runs behind a band of several.
    `low` and `high`: for one run those of `bars` (run, scope, step, low, high), else the 95% interval from the
    companion metric `<metric>_se` (or `_low` and `_high`), where there is one; for a band the range over seeds, or the
    95% t interval from 5 seeds on. `relative`: the standard error is converted to one of the logarithm (delta method),
    so that the interval of a positive number stays positive.
    """
    values = runs.scalars(metric, scopes, literal)
    if values.empty:
        return values.assign(low=[], high=[], seeds=[], kind=[])
    ends = _interval(runs, metric, values, relative, literal) if bars is None else bars
    keys = [key for key in ("band", "run", "scope", "step") if key in ends]
    return over_seeds(runs, values.merge(ends, on=keys, how="left"))


def over_seeds(runs: RunGroup, values: pd.DataFrame) -> pd.DataFrame:
    """Add the mean over the runs of each band; `values` has the columns of `summarize` without seeds and kind."""
    size = {band.label: len(band.runs) for band in runs.bands}
    alone = values["band"].map(size) == 1
    parts = [values[alone].assign(seeds=1, kind="mean")]
    several = values[~alone]
    if not several.empty:
        grouped = several.groupby(["band", "scope", "step"], sort=False, observed=True)
        mean = grouped.agg(
            value=("value", "mean"),
            epoch=("epoch", "mean"),
            seeds=("value", "count"),
            sd=("value", "std"),
            low=("value", "min"),
            high=("value", "max"),
        ).reset_index()
        t = mean["seeds"] >= SEEDS_FOR_T
        half = stdtrit(mean["seeds"].clip(lower=2) - 1, 0.975) * mean["sd"] / np.sqrt(mean["seeds"])
        mean["low"] = mean["low"].where(~t, mean["value"] - half)
        mean["high"] = mean["high"].where(~t, mean["value"] + half)
        parts += [
            mean.drop(columns="sd").assign(kind="mean", run=""),
            several.assign(seeds=1, kind="run", low=np.nan, high=np.nan),
        ]
    return pd.concat(parts, ignore_index=True)


def per_step(runs: RunGroup, rows: pd.DataFrame, axis: Axis) -> tuple[Panel, int]:
    """A line per run, from one number per optimizer step; and how many steps each point averages."""
    frame, width = _binned(rows)
    domain = [band.label for band in runs.bands]
    colour = alt.Color("band:N", scale=alt.Scale(domain=domain), legend=alt.Legend() if len(domain) > 1 else None)
    vertical = axis.encode(float(frame["value"].min()), float(frame["value"].max()))
    base = alt.Chart().encode(step_axis(runs), vertical, colour, detail="run:N")
    layers = [base.mark_line(strokeWidth=1.4)]
    hover = tips(axis.number, alt.Tooltip("run:N", title="run"))
    if width > 1:
        layers.insert(0, base.mark_area().encode(y=alt.Y("low:Q", title=axis.title or None), y2="high:Q"))
        hover += [alt.Tooltip("low:Q", format=axis.number), alt.Tooltip("high:Q", format=axis.number)]
    layers.append(base.mark_point(size=160, opacity=0).encode(tooltip=hover))
    return alt.layer(*layers, data=rounded(frame)).properties(height=HEIGHT), width


def _binned(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Mean, lowest and highest value in bins of consecutive steps, at most BINS per run; and the width of a bin."""
    span = int(rows["step"].max() - rows["step"].min()) + 1
    width = max(1, -(-span // BINS))
    grouped = rows.assign(bin=rows["step"] // width).groupby(["band", "run", "bin"], sort=False)
    frame = grouped.agg(
        step=("step", "mean"),
        epoch=("epoch", "mean"),
        value=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
    ).reset_index()
    return frame, width


def interval_note(runs: RunGroup, what: str = STANDARD_ERRORS) -> str:
    """What the bands and bars of a trajectory mean, for its caption."""
    notes = [f"Bars: {what}."] if any(len(band.runs) == 1 for band in runs.bands) and what else []
    for n in sorted({len(band.runs) for band in runs.bands} - {1}):
        meaning = "95% t interval over seeds" if n >= SEEDS_FOR_T else "range over seeds"
        notes.append(f"Band: mean and {meaning}, n = {n}; every seed is a thin line.")
    return " ".join(notes)


def step_axis(runs: RunGroup, title: str = "step") -> alt.X:
    """The time axis: optimizer steps, logarithmic (and linear below 1) when the checkpoints are."""
    scale = alt.Scale(type="symlog", nice=False) if runs.log_spaced else alt.Scale(nice=False)
    return alt.X("step:Q", title=title, scale=scale, axis=alt.Axis(format="~s", tickCount=6, labelFlush=True))


def tips(number: str, *first: alt.Tooltip) -> list[alt.Tooltip]:
    """Tooltips of every trajectory: step, epoch and value."""
    return [
        *first,
        alt.Tooltip("step:Q", title="step", format=",d"),
        alt.Tooltip("epoch:Q", title="epoch", format=".2f"),
        alt.Tooltip("value:Q", title="value", format=number),
    ]


def rounded(frame: pd.DataFrame, digits: int = 5) -> pd.DataFrame:
    """Floats rounded to `digits` significant digits, so that the page stays small; inf becomes NaN, in JSON null."""
    table = frame.copy()
    for column in [name for name in table.columns if table[name].dtype.kind == "f"]:
        x = table[column].to_numpy(float)
        with np.errstate(divide="ignore", invalid="ignore"):
            power = 10.0 ** (digits - 1 - np.floor(np.log10(np.abs(x))))
            near = np.where(x == 0, 0.0, np.round(x * power) / power)
        table[column] = np.where(np.isfinite(x), near, np.nan)
    return table


def _interval(runs: RunGroup, metric: str, values: pd.DataFrame, relative: bool, literal: bool) -> pd.DataFrame:
    keys = ["band", "run", "scope", "step"]
    error, low, high = (
        runs.scalars(f"{metric}_{end}", set(values["scope"]), literal)[[*keys, "value"]]
        for end in ("se", "low", "high")
    )
    if not error.empty:
        value = values[[*keys, "value"]].merge(error, on=keys, suffixes=("", "_se"))
        half = 1.96 * value["value_se"]
        if relative:
            factor = np.exp(half / value["value"])
            return value[keys].assign(low=value["value"] / factor, high=value["value"] * factor)
        return value[keys].assign(low=value["value"] - half, high=value["value"] + half)
    both = low.rename(columns={"value": "low"}).merge(high.rename(columns={"value": "high"}), on=keys)
    return both.astype({"low": float, "high": float})


def _lines(runs: RunGroup, frame: pd.DataFrame, series: str, domain: list[str], axis: Axis) -> Panel:
    """Bands, bars, lines and points of one panel. All layers share one table, so that the page carries it once."""
    columns = [series, "run", "step", "epoch", "value", "low", "high", "seeds", "kind"]
    table = rounded(frame[columns])
    mean = table[table["kind"] == "mean"]
    present = set(mean[series])
    legend = alt.Legend(values=[name for name in domain if name in present]) if len(present) > 1 else None
    colour = alt.Color(f"{series}:N", scale=alt.Scale(domain=domain), legend=legend)
    shape = alt.Shape(f"{series}:N", scale=alt.Scale(domain=domain), legend=legend)
    drawn = mean[["value", "low", "high"]].to_numpy(float)
    x, vertical = step_axis(runs), axis.encode(float(np.nanmin(drawn)), float(np.nanmax(drawn)))
    spread = (x, alt.Y("low:Q", title=axis.title or None), alt.Y2("high:Q"), colour)
    line = alt.Chart().transform_filter("datum.kind == 'mean'").encode(x, vertical, colour)
    layers: list[alt.Chart] = []
    if axis.reference is not None:
        layers.append(alt.Chart().mark_rule(strokeDash=[4, 3], strokeWidth=1).encode(y=alt.datum(axis.reference)))
    if (mean["seeds"] > 1).any():
        banded = alt.Chart().transform_filter("datum.kind == 'mean' && datum.seeds > 1")
        layers.append(banded.mark_area().encode(*spread))
    single = int(((mean["seeds"] == 1) & mean["low"].notna()).sum())
    if single:
        ends = alt.Chart().transform_filter("datum.seeds == 1 && isValid(datum.low)")
        marked = ends.mark_rule(opacity=0.55, strokeWidth=1.5) if single <= MOST_BARS else ends.mark_area()
        layers.append(marked.encode(*spread))
    layers.append(line.mark_line())
    if (table["kind"] == "run").any():
        thin = alt.Chart().transform_filter("datum.kind == 'run'").mark_line(strokeWidth=0.7, opacity=0.6)
        layers.append(thin.encode(x, vertical, colour, detail="run:N"))
    if len(mean) <= 2 * MOST_BARS:
        layers.append(line.mark_point().encode(shape=shape))
    hover = tips(axis.number, alt.Tooltip(f"{series}:N", title="of"))
    hover += [alt.Tooltip(f"{end}:Q", format=axis.number) for end in ("low", "high") if mean[end].notna().any()]
    layers.append(line.mark_point(size=240, opacity=0).encode(tooltip=hover))
    return alt.layer(*layers, data=table).properties(height=HEIGHT)
