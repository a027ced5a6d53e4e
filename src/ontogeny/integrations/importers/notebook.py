"""Tables that Trainer shows in notebooks: an HTML page or fragment, or the notebook itself (.ipynb)."""

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "notebook table (HTML)"

_STEP, _EPOCH = ("step", "global step", "steps", "iter", "iteration"), ("epoch", "epochs")


class _Tables(HTMLParser):
    """The cells of every table; markup inside cells is dropped."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tables: list[list[tuple[int, list[str]]]] = []
        self._row: list[str] | None = None
        self._cell: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self._row = []
            self.tables[-1].append((self.getpos()[0], self._row))
        elif tag in ("td", "th") and self._row is not None:
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._row is not None and self._cell is not None:
            self._row.append("".join(self._cell).strip())
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)


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
        parser = _Tables()
        parser.feed(html)
        parser.close()
        for table in parser.tables:
            header = [cell.lower() for cell in table[0][1]] if table else []
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


def _add(table: list[tuple[int, list[str]]], writer: str, builder: Builder) -> None:
    names = table[0][1]
    lower = [name.lower() for name in names]
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
