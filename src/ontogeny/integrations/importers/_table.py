"""Text tables: cells separated by commas, semicolons, tabs or bars; quotes; any order of columns."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import LONGEST_LINE, Source

_DELIMITERS = ",;\t|"
_STEP_COLUMNS = (
    "step",
    "global_step",
    "trainer/global_step",
    "train/global_step",
    "iter",
    "iteration",
    "current_steps",
    "steps",
    "update",
    "updates",
    "num_updates",
    "_step",
)
_EPOCH_COLUMNS = ("epoch", "train/epoch", "epochs")
_TIME_COLUMNS = ("_timestamp", "timestamp", "wall_time", "Wall time", "created_at")
_IDENTITY = {"run_name", "name", "run_id", "id", "run", "state", "experiment", "sweep", "url", "model_name"}
_SETTINGS = {
    "seed",
    "batch_size",
    "learning_rate",
    "weight_decay",
    "n_layer",
    "n_head",
    "dropout",
    "max_iters",
    "block_size",
    "hidden_size",
    "warmup_iters",
    "lora_r",
    "lora_alpha",
    "num_epochs",
    "optimizer",
    "n_params",
    "params",
}
_NAME_WITH_NUMBER = re.compile(r"(?:[:=]\s*[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\s\d+\.\d+)$")
"""A name followed by a number: this is a line of a log, not a header."""
_PAIR_IN_CELL = re.compile(r"^[^\"'{]{0,60}\b(?:loss|step|iter|epoch|lr)\s?[:= ]\s*[-+]?\d", re.IGNORECASE)
"""A cell with a name and its number: this is a line of a log, not a row."""
_MOST_WORDS = 4
"""Most words in a column's name if no row follows the header."""
csv.field_size_limit(LONGEST_LINE)


@dataclass(frozen=True)
class Header:
    """The first line of a table: the names of its columns and their delimiter."""

    names: tuple[str, ...]
    delimiter: str

    def column(self, wanted: tuple[str, ...]) -> str | None:
        """The first of these names that a column has, whether in upper or lower case; None if none has."""
        lower = {name.lower(): name for name in reversed(self.names)}
        return next((lower[name.lower()] for name in wanted if name.lower() in lower), None)


@lru_cache(maxsize=8)
def _header_of(line: str) -> Header | None:
    best: Header | None = None
    for delimiter in _DELIMITERS:
        try:
            names = tuple(name.strip() for name in next(csv.reader([line], delimiter=delimiter)))
        except (csv.Error, StopIteration):
            continue
        if len(names) >= 2 and (best is None or len(names) > len(best.names)):
            best = Header(names, delimiter)
    if best is None or sum(number_of(name) is not None for name in best.names) > len(best.names) / 4:
        return None
    words = [name for name in best.names if name]
    fitting = len(words) > (best.delimiter == "|") and all(
        len(name) < 200 and "{" not in name and not _NAME_WITH_NUMBER.search(name[-40:]) for name in words
    )
    return best if fitting else None


def header_of(source: Source) -> Header | None:
    """The header if the file looks like a table, else None."""
    if not source.is_text or source.head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[", b"<"):
        return None
    if source.encoding == "utf-8":
        lines = source.head.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    else:
        lines = source.sample[:6]
    lines = [line.lstrip("\ufeff") for line in lines if line.strip()]
    header = _header_of(lines[0]) if lines else None
    if header is None:
        return None
    if any(_PAIR_IN_CELL.search(cell) for line in lines[1:6] for cell in line.split(header.delimiter)):
        return None  # lines of a log below a sentence with a comma
    following = [line.count(header.delimiter) for line in lines[1:6]]
    expected = len(header.names) - 1
    if not following and any(len(name.split()) > _MOST_WORDS for name in header.names):  # a sentence with a comma
        return None
    if following and sum(count >= expected for count in following) < len(following) / 2:
        return None
    return header


def rows_of(source: Source, header: Header) -> Iterator[tuple[int, list[str]]]:
    """Line number (1 is the header) and cells of every row; damaged rows are noted and left out."""
    lines = source.open_text(None)
    first = next((line for line in lines if line.strip("\ufeff\n ")), "").lstrip("\ufeff")
    reader = csv.reader(chain([first], lines), delimiter=header.delimiter)
    short = 0
    seen_header = False
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            source.note(f"line {reader.line_num}: {error}", partial=True)
            continue
        if not cells or not any(cells):
            continue
        if not seen_header:
            seen_header = True
            continue
        if len(cells) < len(header.names):
            short += 1
        yield reader.line_num, cells
    if short:
        source.note(f"{short} rows have fewer cells than the header", partial=True)


def is_table_of_runs(header: Header) -> bool:
    """Is there one row per run: names of runs, or many settings, beside their results?"""
    lower = {name.lower() for name in header.names}
    final = sum(name.startswith(("final_", "best_", "summary")) for name in lower)
    settings = len(lower & _SETTINGS)
    named = bool(lower & _IDENTITY)
    return (named and (settings >= 2 or final >= 1)) or settings >= 4


TABLE_OF_RUNS = "it is a table of runs, one row each, not a history in time. Export the history of one run"


def add_rows(source: Source, header: Header, builder: Builder, *, step: str | None = None) -> None:
    """Add every row: its step, epoch and time, and its other numbers under the names of their columns."""
    step = step or builder.step_label or header.column(_STEP_COLUMNS)
    epoch, time = header.column(_EPOCH_COLUMNS), header.column(_TIME_COLUMNS)
    builder.row_word = "line"
    axes = {name: header.names.index(name) for name in (step, epoch, time) if name in header.names}
    columns = [(i, name) for i, name in enumerate(header.names) if name and i not in axes.values()]
    for line, cells in rows_of(source, header):
        values = {}
        for i, name in columns:
            if i >= len(cells):
                break
            if cells[i] and (value := cell_number(cells[i], header.delimiter)) is not None:
                values[name] = value
        place = {name: cell_number(cells[i], header.delimiter) if i < len(cells) else None for name, i in axes.items()}
        if values:
            builder.add(
                line,
                values,
                step=place.get(step or ""),
                epoch=place.get(epoch or ""),
                time_unix_s=place.get(time or ""),
            )


def cell_number(text: str, delimiter: str = ",") -> float | None:
    """A cell as a number; None for anything else.

    A comma is a decimal comma if semicolons separate the cells, or if it is followed by other than three digits; else
    it separates thousands.
    """
    try:
        return float(text)
    except ValueError:
        once = text.count(",") == 1 and "." not in text
        number = None if once and delimiter == ";" else number_of(text)
        return number_of(text.replace(",", ".")) if number is None and once else number
