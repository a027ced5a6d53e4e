"""Protocol Buffers' wire format, as far as logs need it: fields of a message, without its schema.

Written down in "Encoding" of the Protocol Buffers documentation: a key (field number x 8 + wire type) as a varint, then
a varint (0), eight bytes (1), a length and so many bytes (2), or four bytes (5).
"""

from collections.abc import Iterator

Value = int | bytes


class DamagedError(ValueError):
    """The bytes are no message."""


def fields(data: bytes) -> Iterator[tuple[int, int, Value]]:
    """Field number, wire type and value of every field: int for varints, bytes for everything else."""
    position, end = 0, len(data)
    while position < end:
        key, position = varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, position = varint(data, position)
            yield number, kind, value
            continue
        if kind == 2:
            size, position = varint(data, position)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise DamagedError(f"wire type {kind}")
        if number == 0 or position + size > end:
            raise DamagedError("a field reaches beyond the end")
        yield number, kind, data[position : position + size]
        position += size


def varint(data: bytes, position: int) -> tuple[int, int]:
    """A varint and the position behind it."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise DamagedError("a number without an end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def inside(data: bytes, number: int) -> Iterator[bytes]:
    """Every message, text or bytes under this field number."""
    for found, kind, value in fields(data):
        if found == number and kind == 2 and isinstance(value, bytes):
            yield value
