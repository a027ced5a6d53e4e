"""W&B's own file of an offline run (`run-<id>.wandb`): records with checksums in blocks, each a protobuf message.

The framing is that of LevelDB's log: blocks of 32 KiB; a record is CRC-32 (of type and data), length, type, data. A
record that does not fit is split into first, middle and last pieces. The first block begins with seven bytes of W&B.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_entry
from ontogeny.integrations.importers._protobuf import DamagedError, fields, inside
from ontogeny.integrations.importers._source import Source
from ontogeny.store.history import CONFIG

FORM = "W&B offline run"

_MAGIC = b":W&B"
_HEAD_BYTES = 7
_BLOCK_BYTES = 32_768
_PIECE = struct.Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_LARGEST_RECORD = 1 << 26

_HISTORY, _CONFIG, _RUN = 2, 5, 17
_RUN_CONFIG = 4
_ITEM, _KEY, _NESTED_KEY, _JSON = 1, 1, 2, 16
_AXES = ("trainer/global_step", "train/global_step", "global_step", "_step")
_SHARE_WITH_AXIS = 0.9
"""Least share of the entries that have the trainer's step if it is to be the axis."""

_ARGUMENTS = {
    "lr_scheduler_type": "schedule",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "label_smoothing_factor": "label_smoothing",
    "_name_or_path": "model",
    "vocab_size": "vocabulary_size",
}
"""Arguments that Hugging Face's Trainer puts into a run's configuration, and our names for them."""


def claim(source: Source) -> float:
    """It begins with W&B's magic bytes."""
    return 1.0 if source.head.startswith(_MAGIC) else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are calls of `log`, counted from 1. The axis is the trainer's step if at least 90% of the calls have it."""
    builder.row_word = "entry"
    entries: list[dict[str, JsonValue]] = []
    config: dict[str, JsonValue] = {}
    for number, record in enumerate(_records(source), 1):
        try:
            for field, _, value in fields(record):
                if field == _HISTORY and isinstance(value, bytes):
                    entries.append(_items(value))
                elif field == _RUN and isinstance(value, bytes):
                    for update in inside(value, _RUN_CONFIG):
                        config |= _items(update)
                elif field == _CONFIG and isinstance(value, bytes):
                    config |= _items(value)
        except DamagedError as error:
            source.note(f"record {number} is damaged ({error}): it was left out", partial=True)
    _configure(config, builder)
    if builder.step_label is None and entries:
        least = _SHARE_WITH_AXIS * len(entries)
        builder.step_label = next((axis for axis in _AXES if sum(axis in entry for entry in entries) >= least), None)
    for row, entry in enumerate(entries, 1):
        add_entry(row, entry, builder)
    if not entries:
        builder.nothing = "the run logged no history"


def _configure(config: Mapping[str, JsonValue], builder: Builder) -> None:
    """Record the settings that we use; -1, which in Trainer means "not set", is left out."""
    for name, value in config.items():
        key = _ARGUMENTS.get(name, name)
        if key in CONFIG and isinstance(value, str | int | float) and value not in (-1, ""):
            builder.configure(key, value)


def _records(source: Source) -> Iterator[bytes]:
    """The records of the file, assembled from their pieces. Damaged ones are left out and noted."""
    data = source.data
    position, parts = _HEAD_BYTES, bytearray()
    while position < len(data):
        room = _BLOCK_BYTES - position % _BLOCK_BYTES
        if room < _PIECE.size:
            position += room
            continue
        piece = _piece(data, position, room)
        if piece is None:
            source.note(f"the file is truncated or damaged at byte {position} of {len(data)}", partial=True)
            position, parts = position + room, bytearray()
            continue
        kind, content = piece
        position += _PIECE.size + len(content)
        if kind in (_WHOLE, _FIRST):
            parts = bytearray()
        parts += content
        if kind in (_WHOLE, _LAST) and parts:
            yield bytes(parts)
            parts = bytearray()
        elif len(parts) > _LARGEST_RECORD:
            source.note(f"a record before byte {position} is too long for W&B: it was left out", partial=True)
            parts = bytearray()


def _piece(data: bytes, position: int, room: int) -> tuple[int, bytes] | None:
    """Type and data of the piece at a position; None if it exceeds its block or its checksum is wrong."""
    if position + _PIECE.size > len(data):
        return None
    checksum, size, kind = _PIECE.unpack_from(data, position)
    content = data[position + _PIECE.size : position + _PIECE.size + size]
    if size > room - _PIECE.size or len(content) < size or kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST):
        return None
    return (kind, content) if zlib.crc32(content, zlib.crc32(bytes([kind]))) == checksum else None


def _items(message: bytes) -> dict[str, JsonValue]:
    """Keys and values of a history or configuration record; nested keys are joined by slashes."""
    values: dict[str, JsonValue] = {}
    for item in inside(message, _ITEM):
        keys: list[str] = []
        text = b""
        for field, kind, value in fields(item):
            if kind != 2 or not isinstance(value, bytes):
                continue
            if field in (_KEY, _NESTED_KEY):
                keys.append(value.decode("utf-8", errors="replace"))
            elif field == _JSON:
                text = value
        if keys:
            values["/".join(keys)] = _value(text)
    return values


def _value(text: bytes) -> JsonValue:
    """A value as W&B writes it: JSON, in which NaN and infinities may be text. None if it is not JSON."""
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
