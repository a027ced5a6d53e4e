"""Tables in text: Markdown, columns of spaces, boxes of lines; below prose, in a model card, between other lines."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import of_evaluations, understand
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._text import is_core, learn, lines, sample, share

FORM = "table in text"

_STEP = {"step", "steps", "global step", "global_step", "iter", "iteration", "iterations"}
_EPOCH = {"epoch", "epochs"}
_RULE = re.compile(r"[\s|│┃:+=\-─━┏┓┗┛┡┩├┤┼╇┳┻┴┬└┘┌┐╞╡╪═╔╗╚╝╠╣╬]*")
_BARS = re.compile(r"[|│┃]")
_SPACES = re.compile(r"\t|\s{2,}")
_PLACE = re.compile(r"(\d+(?:\.\d+)?)(?:/\d+)?")
_LONGEST_NAME = 40


@dataclass(frozen=True)
class _Header:
    cells: tuple[str, ...]
    separator: "re.Pattern[str]"

    def place(self, words: set[str]) -> int | None:
        return next((i for i, cell in enumerate(self.cells) if cell.lower() in words), None)

    def row(self, line: str) -> list[str] | None:
        """The cells of a row of this table; None if the line is none."""
        cells = _cells(line, self.separator)
        if len(cells) < len(self.cells) or (len(cells) > len(self.cells) and self.separator is _BARS):
            return None  # behind columns of spaces, a progress bar may follow
        step, epoch = self.place(_STEP), self.place(_EPOCH)
        at = cells[step if step is not None else epoch or 0]
        return cells if _PLACE.fullmatch(at.replace(",", "")) else None


def _cells(line: str, separator: "re.Pattern[str]") -> list[str]:
    bare = line.strip()
    if separator is _BARS:
        bare = bare.strip("|│┃")
    return [cell.strip(" *`") for cell in separator.split(bare)]


def _header_of(line: str) -> _Header | None:
    lower = line.lower()
    if "step" not in lower and "epoch" not in lower and "iter" not in lower:
        return None
    separator = _BARS if _BARS.search(line) else _SPACES
    cells = _cells(line, separator)
    if len(cells) < 2 or any(not cell or len(cell) > _LONGEST_NAME or number_of(cell) is not None for cell in cells):
        return None
    header = _Header(tuple(cells), separator)
    if header.place(_STEP) is None and header.place(_EPOCH) is None:
        return None
    meanings = [understand(cell) for cell in cells]
    return header if any(meaning is not None and is_core(meaning.name) for meaning in meanings) else None


@dataclass(frozen=True)
class _Line:
    line: int
    header: _Header
    cells: list[str]


def _rows(numbered: Iterator[tuple[int, str]]) -> Iterator[_Line | tuple[int, str]]:
    """Every row of every table; lines that belong to no table as they are."""
    header: _Header | None = None
    for number, line in numbered:
        if header is not None:
            cells = header.row(line)
            if cells is not None:
                yield _Line(number, header, cells)
                continue
            if _RULE.fullmatch(line):
                continue
        began = _header_of(line)
        if began is not None:
            header = began
        else:
            yield number, line


def claim(source: Source) -> float:
    """It has a header with a step or an epoch and a loss or the like, and rows of as many cells."""
    if not source.is_text:
        return 0.0
    rows = (isinstance(row, _Line) for row in _rows(enumerate(sample(source))))
    return 1.2 * share(source, (is_row for is_row in rows if is_row))


def read(source: Source, builder: Builder) -> None:
    """Rows are lines. A table with the header of the one before continues it if its steps go on."""
    tables, header, last = 0, None, -1.0
    names: list[str] = []
    for row in _rows(lines(source)):
        if not isinstance(row, _Line):
            learn(row[1], row[0], builder)
            continue
        places = [row.header.place(words) for words in (_STEP, _EPOCH)]
        step, epoch = (None if i is None else number_of(row.cells[i].partition("/")[0]) for i in places)
        now = step if step is not None else epoch
        if row.header != header and (header is None or row.header.cells != header.cells or (now or 0.0) <= last):
            tables += 1
            names = of_evaluations(row.header.cells)
        header, last = row.header, now if now is not None else last
        values = {
            names[i]: value
            for i, cell in enumerate(row.cells[: len(names)])
            if i not in places and (value := number_of(cell.rstrip("%"))) is not None
        }
        if values:
            builder.add(row.line, values, step=step, epoch=epoch, writer="" if tables == 1 else f"table {tables}")
