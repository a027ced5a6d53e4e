"""W&B exports as CSV: the history of one run, a chart of several, or a table of runs (which is no curve)."""

import re

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._table import (
    TABLE_OF_RUNS,
    Header,
    add_rows,
    cell_number,
    header_of,
    is_table_of_runs,
    rows_of,
)

FORM = "W&B export (CSV)"

_AXES = ("trainer/global_step", "train/global_step", "global_step", "iter", "iteration", "_step")
_CURVE = re.compile(r"(?P<run>.+) - (?P<metric>[^-]+?)(?P<bound>__(?:MIN|MAX))?")


def claim(source: Source) -> float:
    """It has two of `_step`, `_runtime`, `_timestamp`; or curves with `__MIN` and `__MAX`; or it is a run table."""
    header = header_of(source)
    if header is None:
        return 0.0
    names = set(header.names)
    if len(names & {"_step", "_runtime", "_timestamp"}) >= 2 or is_chart(header):
        return 0.98
    return 0.96 if {"Name", "State", "Runtime"} <= names else 0.0


def is_chart(header: Header) -> bool:
    """Is there one curve per run: a column `<run> - <metric>` followed by its bounds?"""
    return any(name.endswith(("__MIN", "__MAX")) for name in header.names[1:])


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file. The axis of a history is the trainer's step if it was logged."""
    header = header_of(source)
    if header is None:
        builder.nothing = "its header cannot be read"
    elif is_chart(header):
        _read_chart(source, header, builder)
    elif is_table_of_runs(header):
        builder.nothing = TABLE_OF_RUNS
    else:
        add_rows(source, header, builder, step=header.column(_AXES))


def _read_chart(source: Source, header: Header, builder: Builder) -> None:
    curves = []
    for i, name in enumerate(header.names[1:], 1):
        match = _CURVE.fullmatch(name)
        if match and not match["bound"]:
            curves.append((i, match["run"], match["metric"]))
    for line, cells in rows_of(source, header):
        step = cell_number(cells[0])
        for i, run, metric in curves:
            if i >= len(cells):
                break
            if cells[i] and (value := cell_number(cells[i])) is not None:
                builder.add(line, {metric: value}, step=step, writer=run)
