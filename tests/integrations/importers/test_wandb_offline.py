"""W&B's file of an offline run, written by hand after LevelDB's log format."""

import json
import struct
import zlib
from pathlib import Path

from tests.integrations.importers.reading import names, points, read

BLOCK = 32_768


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def items(**values: object) -> bytes:
    """Items with a nested key of one part, as newer versions write them."""
    return b"".join(
        field(1, field(2, key.replace("__", "/").encode()) + field(16, json.dumps(value).encode()))
        for key, value in values.items()
    )


def entry(**values: object) -> bytes:
    return field(2, items(**values))


def file(*records: bytes) -> bytes:
    """Records in blocks of 32 KiB, split where they do not fit; a rest under seven bytes holds zeros."""
    out = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        rest, first = record, True
        while rest or first:
            room = BLOCK - len(out) % BLOCK
            if room < 7:
                out += b"\0" * room
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if not rest else 2) if first else (3 if rest else 4)
            out += struct.pack("<IHB", zlib.crc32(piece, zlib.crc32(bytes([kind]))), len(piece), kind) + piece
            first = False
    return bytes(out)


def test_history_by_the_trainers_own_step_and_configuration(tmp_path: Path) -> None:
    run = field(17, field(1, b"id") + field(4, items(learning_rate=0.5, num_train_epochs=3, max_steps=-1)))
    later = field(5, field(1, field(1, b"lr_scheduler_type") + field(16, b'"cosine"')))
    entries = [entry(train__loss=4 - i / 8, train__global_step=10 * i, _step=i, _timestamp=1.5e9 + i) for i in range(4)]
    history = read(tmp_path, file(run, later, *entries, entry(eval__loss=3.5, train__global_step=30, _step=4)))
    assert history.form == "W&B offline run"
    assert points(history, "loss") == [(0, 4.0), (10, 3.875), (20, 3.75), (30, 3.625)]
    assert points(history, "loss", "eval") == [(30, 3.5)]
    assert history.config == {"learning_rate": 0.5, "epochs": 3, "schedule": "cosine"}


def test_wandbs_step_counts_where_the_trainer_gave_none(tmp_path: Path) -> None:
    history = read(tmp_path, file(*[entry(loss=4 - i / 8, _step=i) for i in range(3)]))
    assert points(history, "loss") == [(0, 4.0), (1, 3.875), (2, 3.75)]


def test_records_across_blocks(tmp_path: Path) -> None:
    """Texts of 20,000 bytes: every second record crosses the edge of a block, one is longer than two of them."""
    records = [entry(loss=4 - i / 8, _step=i, text="x" * 20_000) for i in range(6)]
    history = read(tmp_path, file(*records, entry(loss=1.0, _step=6, text="y" * 90_000)))
    assert [value for _, value in points(history, "loss")] == [4.0, 3.875, 3.75, 3.625, 3.5, 3.375, 1.0]
    assert not history.partial
    assert names(history) == {"train/loss"}


def test_a_flipped_byte_costs_a_block_and_is_said(tmp_path: Path) -> None:
    content = bytearray(file(*[entry(loss=4.0, _step=i, text="x" * 30_000) for i in range(4)]))
    content[100] ^= 1
    history = read(tmp_path, bytes(content))
    assert history.partial
    assert f"the file is truncated or damaged at byte 7 of {len(content)}" in history.notes
    assert [step for step, _ in points(history, "loss")] == [2, 3]


def test_not_finite_values_are_kept(tmp_path: Path) -> None:
    loss = read(tmp_path, file(entry(loss=1.0, _step=0), entry(loss=float("nan"), _step=1))).segments[0].get("loss")
    assert loss is not None
    assert str(loss.values[1]) == "nan"


def test_a_run_without_history_is_no_curve(tmp_path: Path) -> None:
    assert read(tmp_path, file(field(17, field(1, b"id")))).nothing == "the run logged no history"
