"""Tables that Trainer shows in notebooks: an HTML page or fragment, or the notebook itself (.ipynb)."""

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import NamedTuple

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import of_evaluations
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "notebook table (HTML)"

_STEP, _EPOCH = ("step", "global step", "steps", "iter", "iteration"), ("epoch", "epochs")


_TAG = re.compile(r"<(?P<closing>/?)(?P<tag>table|tr|td|th)\b[^<>]*>", re.IGNORECASE)
_MARKUP = re.compile(r"<[^<>]*>")
_LONGEST_CELL = 500
"""Characters of a cell that are read: it holds a name or a number."""


class Row(NamedTuple):
    """A row of a table, and the line of the text in which it begins."""

    line: int
    cells: list[str]


def _tables(html: str) -> list[list[Row]]:
    """The rows of every table; markup inside cells is dropped.

    One pass over the tags of tables: Python's own parser needs quadratic time for some pages that are not closed.
    """
    tables: list[list[Row]] = []
    line, counted_to = 1, 0
    cell_start: int | None = None
    for match in _TAG.finditer(html):
        tag = match["tag"].lower()
        if tag == "table" and not match["closing"]:
            tables.append([])
        elif tag == "tr" and not match["closing"] and tables:
            line, counted_to = line + html.count("\n", counted_to, match.start()), match.start()
            tables[-1].append(Row(line, []))
        elif tag in ("td", "th") and tables and tables[-1]:
            if not match["closing"]:
                cell_start = match.end()
            elif cell_start is not None:
                tables[-1][-1].cells.append(_text_of(html[cell_start : min(match.start(), cell_start + _LONGEST_CELL)]))
                cell_start = None
    return tables


def _text_of(cell: str) -> str:
    bare = _MARKUP.sub("", cell)
    try:
        return unescape(bare).strip()
    except ValueError:  # a character reference of more digits than Python converts
        return bare.strip()


def claim(source: Source) -> float:
    """It is a notebook, or contains an HTML table; surer of a table if the text has a loss."""
    if not source.is_text:
        return 0.0
    if b'"nbformat"' in source.head or b'"cell_type"' in source.head:
        return 0.95
    head = source.head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head.startswith(b"<") or b"<table" not in source.data[: 1 << 22].lower():
        return 0.0
    return 0.95 if b"loss" in source.data[: 1 << 22].lower() else 0.5


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the page (in a notebook, of the output). Every table of losses is a separate run."""
    tables = empty = 0
    for name, html in _pages(source):
        for table in _tables(html):
            header = [cell.lower() for cell in table[0].cells] if table else []
            if not any(cell in (*_STEP, *_EPOCH) for cell in header) or not any("loss" in cell for cell in header):
                continue
            tables += 1
            empty += len(table) == 1
            _add(table, name if tables == 1 else f"{name or 'table'} {tables}", builder)
    if not len(builder):
        builder.nothing = (
            "its table has a header but no rows: nothing was logged" if empty else "it has no table of losses"
        )


def _pages(source: Source) -> Iterator[tuple[str, str]]:
    notebook = source.json
    if not isinstance(notebook, Mapping):
        yield "", source.text
        return
    cells = notebook.get("cells")
    for number, cell in enumerate(cells if isinstance(cells, list) else [], 1):
        outputs = cell.get("outputs") if isinstance(cell, Mapping) else None
        for output in outputs if isinstance(outputs, list) else []:
            data = output.get("data") if isinstance(output, Mapping) else None
            html = data.get("text/html") if isinstance(data, Mapping) else None
            if isinstance(html, list):
                html = "".join(part for part in html if isinstance(part, str))
            if isinstance(html, str) and "<table" in html:
                yield f"cell {number}", html


def _add(table: list[Row], writer: str, builder: Builder) -> None:
    lower = [name.lower() for name in table[0].cells]
    names = of_evaluations(table[0].cells)
    step = next((i for i, name in enumerate(lower) if name in _STEP), None)
    epoch = next((i for i, name in enumerate(lower) if name in _EPOCH), None)
    for line, cells in table[1:]:
        numbers = [number_of(cell) for cell in cells]
        values = {
            names[i]: value
            for i, value in enumerate(numbers[: len(names)])
            if value is not None and i not in (step, epoch)
        }
        place = [numbers[i] if i is not None and i < len(numbers) else None for i in (step, epoch)]
        if values:
            builder.add(line, values, step=place[0], epoch=place[1], writer=writer)
