"""JSON that holds a history whole: a list of entries, an object with such a list, or lists side by side (Keras)."""

from collections.abc import Mapping
from typing import Any

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import EPOCH_KEYS, STEP_KEYS, add_entry
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "JSON history"


def claim(source: Source) -> float:
    """It is one JSON value that holds a list of objects, or lists of numbers."""
    if not source.is_text or not source.head.lstrip(b"\xef\xbb\xbf \t\r\n\xff\xfe").startswith((b"{", b"[")):
        return 0.0
    return 0.75 if _entries(source.json) is not None or _columns(source.json) else 0.0


def _entries(found: Any) -> list[dict[str, Any]] | None:
    """The longest list of objects: the value itself, or one of its values."""
    lists = [found] if isinstance(found, list) else list(found.values()) if isinstance(found, Mapping) else []
    fitting = [one for one in lists if isinstance(one, list) and one and any(isinstance(e, dict) for e in one[:20])]
    return max(fitting, key=len) if fitting else None


def _columns(found: Any) -> dict[str, list[Any]]:
    """Lists of numbers side by side, at least two long, by their keys."""
    if not isinstance(found, Mapping):
        return {}
    inner = found.get("history")
    tree = inner if isinstance(inner, Mapping) else found
    return {
        str(key): value
        for key, value in tree.items()
        if isinstance(value, list)
        and len(value) >= 2
        and all(number_of(one) is not None or one is None for one in value)
    }


def read(source: Source, builder: Builder) -> None:
    """Entries are counted from 1."""
    builder.row_word = "entry"
    found = source.json
    entries = _entries(found)
    if entries is not None:
        for number, entry in enumerate(entries, 1):
            if isinstance(entry, dict):
                add_entry(number, entry, builder)
        return
    columns = _columns(found)
    axis = builder.step_label or next((key for key in STEP_KEYS if key in columns), None)
    epochs = next((key for key in EPOCH_KEYS if key in columns), None)
    length = max(map(len, columns.values()))
    for i in range(length):
        values = {key: number_of(column[i]) for key, column in columns.items() if i < len(column)}
        step = values.pop(axis, None) if axis else None
        epoch = values.pop(epochs, None) if epochs else float(i + 1) if axis is None else None
        kept = {key: value for key, value in values.items() if value is not None}
        if kept:
            builder.add(i + 1, kept, step=step, epoch=epoch)
