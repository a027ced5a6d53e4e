"""What is written beside the page: figures as SVG, PNG and PDF, the numbers as CSV, the sentences as plain text."""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ontogeny.report.analyses import in_order, over_runs
from ontogeny.report.figure import Figure
from ontogeny.report.origin import alarms, facts
from ontogeny.report.sentences import nats, sentences
from ontogeny.report.theme import LIGHT, chart_config, fixed
from ontogeny.store import durable
from ontogeny.store.run_group import RunGroup

WIDTH = 620
"""Of a chart in a picture, in pixels; PNG has twice as many."""


def write_pictures(folder: Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Each panel as <name>.svg, .png and .pdf in that folder."""
    import vl_convert

    durable.make_folder(folder)
    config = fixed({**chart_config(), "background": LIGHT["panel"]}, LIGHT)
    paths = []
    for name, figure in figures.items():
        for title, chart in figure.panels.items():
            spec = {
                **chart.to_dict(),
                "width": WIDTH,
                "title": {"text": title or figure.title, "anchor": "start", "offset": 12},
            }
            svg = vl_convert.vegalite_to_svg(spec, config=config)
            stem = f"{name}-{_slug(title)}" if title else name
            durable.write_bytes(folder / f"{stem}.svg", svg.encode())
            durable.write_bytes(folder / f"{stem}.png", vl_convert.svg_to_png(svg, scale=2))
            durable.write_bytes(folder / f"{stem}.pdf", vl_convert.svg_to_pdf(svg))
            paths += [folder / f"{stem}.{ending}" for ending in ("svg", "png", "pdf")]
    return paths


def summary(runs: RunGroup) -> pd.DataFrame:
    """One row per run and checkpoint, one column per probe set and scalar, for a spreadsheet.

    Columns: run, seed, step, epoch, the training loss (mean since the previous row), then `<scope> <measure>/<name>`.
    """
    names = [name for name in runs.metric_names if "/" in name and not name.startswith("measure/")]
    long = (
        pd.concat([runs.scalars(name, literal=True).assign(name=name) for name in names]) if names else pd.DataFrame()
    )
    loss = runs.scalars("loss", ["train"])
    if long.empty:
        return loss.rename(columns={"value": "training loss"}).drop(columns=["band", "scope"])
    long["column"] = long["scope"] + " " + long["name"]
    keys = ["run", "seed", "step", "epoch"]
    wide = long.pivot_table(index=keys, columns="column", values="value", aggfunc="last", sort=False, dropna=False)
    wide = wide.dropna(how="all").reset_index().sort_values(["run", "step"], kind="stable", ignore_index=True)
    wide.insert(4, "training loss", _mean_since_previous_row(wide, loss))
    return wide.rename_axis(columns=None)


def _mean_since_previous_row(wide: pd.DataFrame, loss: pd.DataFrame) -> list[float]:
    """Mean training loss of the updates between each row's state and the previous row's of the same run."""
    values = []
    by_run = dict(list(loss.groupby("run"))) if not loss.empty else {}
    previous: tuple[str, int] = ("", 0)
    for run, step in zip(wide["run"], wide["step"], strict=True):
        start = previous[1] if previous[0] == run else 0
        rows = by_run.get(run)
        part = (
            rows[(rows["step"] >= start) & (rows["step"] < step)]["value"]
            if rows is not None
            else pd.Series(dtype=float)
        )
        values.append(float(part.mean()) if len(part) else float("nan"))
        previous = (run, int(step))
    return values


def plain_text(runs: RunGroup) -> str:
    """Every run's sentences, facts, analyses and last losses."""
    lines: list[str] = []
    for band in runs.bands:
        lines += [
            band.label if len(band.runs) == 1 else f"{band.label} ({len(band.runs)} seeds)",
            "=" * len(band.label),
            "",
        ]
        for sentence in sentences(band):
            lines += [*_wrapped(sentence.text), *_wrapped(sentence.small, "    "), ""]
        for run in band.runs:
            lines += [f"{run.name}", *_table(facts(run)), *alarms(run), ""]
            for kind, result in in_order(run.analyses):
                lines += _analysis(kind, result)
    for comparison in over_runs(runs):
        lines += _analysis(f"{comparison['kind']}, over {comparison['run']}", comparison)
    lines += _last_losses(runs)
    return "\n".join(lines).rstrip() + "\n"


def _analysis(kind: str, result: Mapping[str, Any]) -> list[str]:
    """A stored `core.analyses.Result`."""
    return [
        kind,
        *_wrapped(f"{result['verdict']}.", "  "),
        *(line for sentence in result["sentences"] for line in _wrapped(f"- {sentence}", "    ")),
        *_wrapped(f"How to read it: {result['reading']}", "  "),
        "",
    ]


def _last_losses(runs: RunGroup) -> list[str]:
    """Loss of every probe set at the first and last checkpoint."""
    rows = runs.scalars("evaluation/nll")
    lines = ["Loss in nats per token, first and last checkpoint:"] if not rows.empty else []
    for (run, scope), part in rows.groupby(["run", "scope"], sort=False):
        (first_step, first), (last_step, last) = part[["step", "value"]].iloc[[0, -1]].to_numpy()
        lines.append(
            f"  {run}, {scope}: {nats(first)} at step {int(first_step):,}, {nats(last)} at step {int(last_step):,}"
        )
    return lines


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {label + ':':<16}{value}" for label, value in rows]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=indent, subsequent_indent=indent)


def _slug(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
