"""JSON Lines: one object per line, whatever lies between them."""

import json
from collections.abc import Iterator
from typing import Any

from ontogeny.integrations.importers._source import Source

_LOOKED_AT = 20


def objects(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and object of every line that is one; other lines are counted in a note."""
    others, first = 0, 0
    for number, line in source.lines():
        stripped = line.lstrip("\ufeff \t")
        if stripped.startswith("{"):
            try:
                found = json.loads(stripped)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                yield number, found
                continue
        others += 1
        first = first or number
    if others:
        source.note(f"{others} lines are no JSON object (the first is line {first})", partial=True)


def first_objects(source: Source) -> list[dict[str, Any]]:
    """Objects among the first lines of a file that looks like JSON Lines; empty if it does not."""
    if not source.is_text:
        return []
    found = []
    lines = source.sample[:_LOOKED_AT]
    for line in lines:
        stripped = line.lstrip("\ufeff \t")
        if not stripped.startswith("{"):
            continue
        try:
            one = json.loads(stripped)
        except (ValueError, RecursionError):
            continue
        if isinstance(one, dict) and one:
            found.append(one)
    return found if len(found) >= max(len(lines) / 2, 1) else []
