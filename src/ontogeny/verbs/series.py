"""The series of a log, and how each was understood."""

from ontogeny.core.printable import one_line
from ontogeny.diagnosis.objective import objective_of
from ontogeny.report.findings_text import described
from ontogeny.report.sparkline import sparkline
from ontogeny.store.history import CONFIG, History, Series

_COLUMNS = ("in the log", "understood as", "points", "steps", "first", "lowest", "last", "rounding", "curve")
_SPARK = 24


def plain(history: History) -> dict[str, object]:
    """What was understood of a log, as plain values for JSON."""
    objective, why = objective_of(history)
    return {
        "path": history.path,
        "form": history.form,
        "nothing": history.nothing,
        "partial": history.partial,
        "notes": list(history.notes),
        "objective": objective.value,
        "why_objective": why,
        "config": _config(history),
        "segments": [
            {
                "axis": segment.axis,
                "beginning": segment.beginning,
                "reason": segment.reason,
                "series": [described(series) for series in segment],
            }
            for segment in history.segments
        ],
    }


def _config(history: History) -> dict[str, object]:
    return {key: value for key, value in history.config.items() if key in CONFIG}


def text(history: History) -> str:
    """The same for the terminal: a table per segment."""
    lines = [one_line(history.path), f"  {history.form}" + (", read in part" if history.partial else "")]
    if history.nothing:
        lines.append(f"  no training curve: {history.nothing}")
    else:
        objective, why = objective_of(history)
        lines.append(f"  {objective.value}: {why}")
    lines += [f"  - {note}" for note in history.notes]
    for key, value in _config(history).items():
        shown = str(value) if len(str(value)) < 60 else f"{str(value)[:57]}…"
        lines.append(f"  {key}: {shown}    ({CONFIG[key]})")
    for segment in history.segments:
        reason = f": {segment.reason}" if segment.reason else ""
        lines += ["", f"segment {segment.index} (counted in {segment.axis}s){reason}"]
        rows = [_COLUMNS, *(_row(series) for series in segment)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _row(series: Series) -> tuple[str, ...]:
    values = series.clean().values
    ends = [f"{value:.4g}" for value in (values[0], values.min(), values[-1])] if len(values) else ["-"] * 3
    bad = f" ({len(series) - len(values)} not finite)" if len(values) < len(series) else ""
    unit = f" [{series.unit}]" if series.unit else ""
    return (
        one_line(series.label[:40]),
        f"{series.scope}/{series.name}{unit}",
        f"{len(series)}{bad}",
        f"{series.steps[0]}–{series.steps[-1]}",
        *ends,
        "full" if series.decimals is None else f"{series.decimals} decimals",
        sparkline(series, _SPARK),
    )
