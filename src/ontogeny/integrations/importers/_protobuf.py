"""The part of Protocol Buffers' wire format that logs use: the fields of a message, read without its schema.

As defined under "Encoding" in the Protocol Buffers documentation: a key (field number x 8 + wire type) as a varint,
then a varint (wire type 0), eight bytes (1), a length and that many bytes (2), or four bytes (5).
"""

from collections.abc import Iterator

Value = int | bytes


class DamagedError(ValueError):
    """The bytes are not a message."""


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
    """A varint and the position after it. Raises DamagedError if it does not end."""
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise DamagedError("a number that does not end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def inside(data: bytes, number: int) -> Iterator[bytes]:
    """Every message, text or bytes under this field number."""
    for field, kind, value in fields(data):
        if field == number and kind == 2 and isinstance(value, bytes):
            yield value
