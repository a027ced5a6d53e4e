"""JSON Lines: one object per line, with any other lines between them."""

import json
from collections.abc import Iterator

from pydantic import JsonValue

from ontogeny.integrations.importers._alike import LineStream
from ontogeny.integrations.importers._source import Source

_FIRST_LINES = 20
"""Lines by which the format is recognised."""


def objects(source: Source) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    """Line number and object of every line that is a JSON object; a note counts the other lines."""
    for number, _, entry in printed_objects(source, LineStream(source)):
        yield number, entry


def printed_objects(source: Source, stream: LineStream) -> Iterator[tuple[int, str, dict[str, JsonValue]]]:
    """The same, with the lines themselves; what the caller takes from `stream` is not given."""
    others, first = 0, 0
    for number, line in stream:
        entry = _object(line)
        if entry is not None:
            yield number, line, entry
            continue
        others += 1
        first = first or number
    if others:
        source.note(f"{others} lines are not a JSON object (the first is line {first})", partial=True)


def first_objects(source: Source) -> list[dict[str, JsonValue]]:
    """Objects among the first lines of a file if at least half of these are objects; else empty."""
    if not source.is_text:
        return []
    lines = source.sample[:_FIRST_LINES]
    entries = [entry for line in lines if (entry := _object(line))]
    return entries if len(entries) >= max(len(lines) / 2, 1) else []


def _object(line: str) -> dict[str, JsonValue] | None:
    """The JSON object that a line is; None if it is anything else."""
    stripped = line.lstrip("\ufeff \t")
    if not stripped.startswith("{"):
        return None
    try:
        value = json.loads(stripped)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
