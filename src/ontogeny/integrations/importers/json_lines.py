"""Any other JSON Lines: one object per entry."""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from pydantic import JsonValue

from ontogeny.integrations.importers._alike import LineStream, column, pattern_of
from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_columns, add_entry
from ontogeny.integrations.importers._json_lines import first_objects, printed_objects
from ontogeny.integrations.importers._source import Source
from ontogeny.integrations.importers._template import NUMBER_IN_LINE

FORM = "JSON Lines"


def claim(source: Source) -> float:
    """At least half of the first lines are JSON objects."""
    entries = first_objects(source)
    if not entries:
        return 0.0
    return 0.8 if len(entries) > 1 else 0.55


def read(source: Source, builder: Builder) -> None:
    """Rows are lines of the file. Lines that differ from the one before only in numbers are read many at once."""
    stream = LineStream(source)
    before: Sequence[str] = ()
    for number, line, entry in printed_objects(source, stream):
        add_entry(number, entry, builder)
        pieces = NUMBER_IN_LINE.split(line)
        gaps = pieces[::2]
        if gaps == before:
            keys = _keys_of(pieces[1::2], entry)
            wanted = frozenset(range(len(keys)))
            pattern = pattern_of(tuple(gaps), pieces[1::2], wanted) if keys else None
            rows = stream.take(number, pattern) if pattern is not None else []
            if rows:
                columns = {key: column(texts) for key, texts in zip(keys, zip(*rows, strict=True), strict=True)}
                add_columns(range(number + 1, number + 1 + len(rows)), columns, builder)
        before = gaps


def _keys_of(texts: Sequence[str], entry: Mapping[str, JsonValue]) -> list[str]:
    """The keys of the numbers of a line, in its order; empty if its numbers are not exactly the object's values."""
    if any(isinstance(value, list | dict) for value in entry.values()):
        return []
    numbers = {key: value for key, value in entry.items() if type(value) in (int, float)}
    values = [cast(float, value) for value in numbers.values()]
    if len(values) != len(texts) or any("," in text for text in texts):
        return []
    try:
        is_same = np.array_equal(np.array(texts, dtype=float), np.array(values, dtype=float), equal_nan=True)
    except OverflowError:  # an integer beyond every float
        return []
    return list(numbers) if is_same else []
