"""What was found in a log, and how each series was understood."""

from pathlib import Path
from typing import Any

from ontogeny.diagnosis.objective import objective_of
from ontogeny.integrations.importing import read_history
from ontogeny.report.findings_text import described
from ontogeny.report.sparkline import sparkline
from ontogeny.store.history import CONFIG, History

_COLUMNS = ("in the log", "understood as", "points", "steps", "first", "lowest", "last", "rounding", "curve")
_SPARK = 24


def series_of(path: Path, mapping: dict[str, str] | None) -> tuple[History, dict[str, Any]]:
    """The history, and the same as plain values."""
    history = read_history(path, mapping)
    objective, why = objective_of(history)
    segments = [
        {"axis": one.axis, "beginning": one.beginning, "reason": one.reason, "series": [described(s) for s in one]}
        for one in history.segments
    ]
    plain = {
        "path": history.path,
        "form": history.form,
        "nothing": history.nothing,
        "partial": history.partial,
        "notes": list(history.notes),
        "objective": objective.value,
        "why_objective": why,
        "config": {key: value for key, value in history.config.items() if key in CONFIG},
        "segments": segments,
    }
    return history, plain


def text(history: History, plain: dict[str, Any]) -> str:
    """As a person reads it: a table per segment."""
    lines = [f"{plain['path']}", f"  {plain['form']}" + (", read in part" if plain["partial"] else "")]
    if plain["nothing"]:
        lines.append(f"  no training curve: {plain['nothing']}")
    else:
        lines.append(f"  {plain['objective']}: {plain['why_objective']}")
    lines += [f"  - {note}" for note in plain["notes"]]
    for key, value in plain["config"].items():
        shown = str(value) if len(str(value)) < 60 else f"{str(value)[:57]}…"
        lines.append(f"  {key}: {shown}    ({CONFIG[key]})")
    for segment in history.segments:
        lines += [
            "",
            f"segment {segment.index} (counted in {segment.axis}s)" + (f": {segment.reason}" if segment.reason else ""),
        ]
        rows: list[tuple[str, ...]] = [_COLUMNS]
        for one in segment:
            facts = described(one)
            bad = f" ({facts['not_finite']} not finite)" if facts["not_finite"] else ""
            ends = [f"{facts[key]:.4g}" if facts[key] is not None else "-" for key in ("first", "lowest", "last")]
            rounding = "full" if one.decimals is None else f"{one.decimals} decimals"
            unit = f" [{one.unit}]" if one.unit else ""
            span = f"{facts['first_step']}–{facts['last_step']}"
            meaning = f"{one.scope}/{one.name}{unit}"
            rows.append((one.label[:40], meaning, f"{len(one)}{bad}", span, *ends, rounding, sparkline(one, _SPARK)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        lines += [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
    return "\n".join(lines)
