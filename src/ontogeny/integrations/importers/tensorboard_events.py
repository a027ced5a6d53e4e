"""TensorBoard event files: records with a length, each an `Event` with scalars. All points are read, not a sample."""

import struct
from collections.abc import Iterator

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._protobuf import DamagedError, fields, inside
from ontogeny.integrations.importers._source import Source

FORM = "TensorBoard events"

_HEADER = struct.Struct("<Q")
_CHECKSUM_BYTES = 4
_LARGEST_RECORD = 1 << 28
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY = 1, 2, 3, 5
_VALUE, _TAG, _SIMPLE_VALUE, _TENSOR = 1, 1, 2, 8
_DTYPE, _CONTENT, _FLOAT_VAL, _DOUBLE_VAL = 1, 4, 5, 6
_FLOAT, _DOUBLE = 1, 2


def claim(source: Source) -> float:
    """The first record is an event: that of the file version, or one with a wall time."""
    head = source.head
    if b"brain.Event:" in head[:64]:
        return 1.0
    if source.is_text or len(head) < 16:
        return 0.0
    (size,) = _HEADER.unpack_from(head)
    if not 0 < size <= min(source.size - 16, _LARGEST_RECORD) or 12 + size > len(head):
        return 0.0
    try:
        numbers = {number for number, _, _ in fields(head[12 : 12 + size])}
    except DamagedError:
        return 0.0
    return 0.9 if _WALL_TIME in numbers and numbers <= set(range(1, 11)) else 0.0


def read(source: Source, builder: Builder) -> None:
    """Rows are events, counted from 1; the first one gives the file version."""
    builder.row_word = "event"
    events = 0
    for number, record in enumerate(_records(source), 1):
        events += 1
        try:
            _add(number, record, builder)
        except DamagedError as error:
            source.note(f"event {number} is damaged ({error}): it was left out", partial=True)
    if events and not len(builder):
        builder.nothing = f"none of its {events} events has a scalar: only text, graphs or hyperparameters"


def _records(source: Source) -> Iterator[bytes]:
    """The records of the file. A truncated tail is noted."""
    data = source.data
    position = 0
    while position < len(data):
        if position + 12 > len(data):
            break
        (size,) = _HEADER.unpack_from(data, position)
        end = position + 12 + size + _CHECKSUM_BYTES
        if size > _LARGEST_RECORD or end > len(data):
            break
        yield data[position + 12 : position + 12 + size]
        position = end
    if position < len(data):
        source.note(f"the file is truncated or damaged {len(data) - position} bytes before its end", partial=True)


def _add(number: int, event: bytes, builder: Builder) -> None:
    step, time, summaries = 0, None, []
    for field, kind, value in fields(event):
        if field == _STEP and isinstance(value, int):
            step = value - (1 << 64) if value >= 1 << 63 else value
        elif field == _WALL_TIME and kind == 1 and isinstance(value, bytes):
            (time,) = struct.unpack("<d", value)
        elif field == _SUMMARY and isinstance(value, bytes):
            summaries.append(value)
    values: dict[str, float] = {}
    for summary in summaries:
        for value_message in inside(summary, _VALUE):
            tag, scalar = _scalar(value_message)
            if tag and scalar is not None:
                values[tag] = scalar
    if values:
        builder.add(number, values, step=step, time_unix_s=time)


def _scalar(value: bytes) -> tuple[str, float | None]:
    """Tag and number of a summary's value; None instead of the number for an image, a histogram or text."""
    tag, scalar = "", None
    for field, kind, content in fields(value):
        if not isinstance(content, bytes):
            continue
        if field == _TAG and kind == 2:
            tag = content.decode("utf-8", errors="replace")
        elif field == _SIMPLE_VALUE and kind == 5:
            (scalar,) = struct.unpack("<f", content)
        elif field == _TENSOR and kind == 2:
            scalar = _of_tensor(content)
    return tag, scalar


def _of_tensor(tensor: bytes) -> float | None:
    """The number in a tensor of one float or double."""
    dtype, content = 0, b""
    for field, kind, value in fields(tensor):
        if field == _DTYPE and isinstance(value, int):
            dtype = value
        elif field in (_CONTENT, _FLOAT_VAL, _DOUBLE_VAL) and kind in (1, 2, 5) and isinstance(value, bytes):
            content = value
    if dtype == _FLOAT and len(content) == 4:
        return float(struct.unpack("<f", content)[0])
    if dtype == _DOUBLE and len(content) == 8:
        return float(struct.unpack("<d", content)[0])
    return None
