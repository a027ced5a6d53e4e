"""A metric of MLflow's folder `mlruns`: `mlruns/<experiment>/<run>/metrics/<name>`, a line per value.

A line is the time in milliseconds, the value and the step (MLflow, `mlflow/store/tracking/file_store.py`).
"""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import NUMBER, number_of
from ontogeny.integrations.importers._source import Source

FORM = "MLflow metric"
_LINE = re.compile(rf"(\d{{12,14}}) ({NUMBER}) (\d{{1,15}})\s*")
_FOLDER = "metrics"
_FIRST_LINES = 20


def claim(source: Source) -> float:
    """It lies below a folder `metrics`, and its first lines, all but one, are a time, a value and a step."""
    if not source.is_text or _FOLDER not in source.path.parts[:-1]:
        return 0.0
    lines = source.sample[:_FIRST_LINES]
    count = sum(_LINE.fullmatch(line) is not None for line in lines)
    return 0.95 if count and count >= len(lines) - 1 else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. The metric is named by the path below the folder `metrics`."""
    parts = source.path.parts
    name = "/".join(parts[len(parts) - parts[::-1].index(_FOLDER) :])
    others = 0
    for number, line in source.lines():
        match = _LINE.fullmatch(line)
        value = number_of(match[2]) if match else None
        if match is None or value is None:
            others += 1
            continue
        builder.add(number, {name: value}, step=float(match[3]), time_unix_s=int(match[1]) / 1000)
    if others:
        source.note(f"{others} lines are no time, value and step", partial=True)
