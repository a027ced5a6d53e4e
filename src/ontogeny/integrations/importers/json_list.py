"""A history as one JSON value: a list of entries, an object with such a list, or one list per metric (Keras)."""

from pydantic import JsonValue

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import EPOCH_KEYS, STEP_KEYS, add_entry
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "JSON history"


def claim(source: Source) -> float:
    """It is one JSON value with a list of objects, or with lists of numbers."""
    if not source.is_text or not source.head.lstrip(b"\xef\xbb\xbf \t\r\n\xff\xfe").startswith((b"{", b"[")):
        return 0.0
    return 0.75 if _entries(source.json) is not None or _columns(source.json) else 0.0


def _entries(tree: JsonValue) -> list[JsonValue] | None:
    """The longest list with objects: the value itself, or one of its values."""
    values = [tree] if isinstance(tree, list) else list(tree.values()) if isinstance(tree, dict) else []
    lists = [value for value in values if isinstance(value, list)]
    with_objects = [entries for entries in lists if any(isinstance(entry, dict) for entry in entries[:20])]
    return max(with_objects, key=len) if with_objects else None


def _columns(tree: JsonValue) -> dict[str, list[float | None]]:
    """Lists of numbers or nulls by their keys, each at least two long."""
    if not isinstance(tree, dict):
        return {}
    inner = tree.get("history")
    columns: dict[str, list[float | None]] = {}
    for key, value in (inner if isinstance(inner, dict) else tree).items():
        if isinstance(value, list) and len(value) >= 2:
            numbers = [number_of(cell) for cell in value]
            if all(number is not None or cell is None for number, cell in zip(numbers, value, strict=True)):
                columns[key] = numbers
    return columns


def read(source: Source, builder: Builder) -> None:
    """Entries are counted from 1."""
    builder.row_word = "entry"
    tree = source.json
    entries = _entries(tree)
    if entries is not None:
        for number, entry in enumerate(entries, 1):
            if isinstance(entry, dict):
                add_entry(number, entry, builder)
        return
    columns = _columns(tree)
    axis = builder.step_label or next((key for key in STEP_KEYS if key in columns), None)
    epochs = next((key for key in EPOCH_KEYS if key in columns), None)
    length = max(map(len, columns.values()))
    for i in range(length):
        values = {key: column[i] for key, column in columns.items() if i < len(column)}
        step = values.pop(axis, None) if axis else None
        epoch = values.pop(epochs, None) if epochs else float(i + 1) if axis is None else None
        numbers = {key: value for key, value in values.items() if value is not None}
        if numbers:
            builder.add(i + 1, numbers, step=step, epoch=epoch)
