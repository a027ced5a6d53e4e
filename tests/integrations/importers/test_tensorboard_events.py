"""TensorBoard event files, written by TensorBoard's own writer and by hand."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.integrations.importers.reading import points, read


def field(number: int, kind: int, content: bytes) -> bytes:
    """One field; with its length if it is of kind 2. Small lengths alone, so each varint is one byte."""
    return bytes([number << 3 | kind]) + (bytes([len(content)]) if kind == 2 else b"") + content


def event(step: int, *values: tuple[str, float]) -> bytes:
    """A record: length, its checksum (not checked), an Event of wall time, step and scalars, its checksum."""
    scalars = [field(1, 2, field(1, 2, tag.encode()) + field(2, 5, struct.pack("<f", value))) for tag, value in values]
    body = field(1, 1, struct.pack("<d", 1.5e9)) + field(2, 0, bytes([step])) + field(5, 2, b"".join(scalars))
    return struct.pack("<Q", len(body)) + b"\0\0\0\0" + body + b"\0\0\0\0"


VERSION = field(1, 1, struct.pack("<d", 1.5e9)) + field(3, 2, b"brain.Event:2")
HEAD = struct.pack("<Q", len(VERSION)) + b"\0\0\0\0" + VERSION + b"\0\0\0\0"


def test_every_scalar_of_every_event(tmp_path: Path) -> None:
    events = [event(s, ("train/loss", 4.0 - s / 8), ("train/learning_rate", 0.5)) for s in range(5)]
    history = read(tmp_path, HEAD + b"".join(events) + event(4, ("eval/loss", 3.75)))
    assert history.form == "TensorBoard events"
    assert points(history, "loss") == [(0, 4.0), (1, 3.875), (2, 3.75), (3, 3.625), (4, 3.5)]
    assert points(history, "loss", "eval") == [(4, 3.75)]
    loss = history.segments[0].get("loss")
    assert loss is not None
    assert loss.rows.tolist() == [2, 3, 4, 5, 6]
    assert set(loss.times_unix_s) == {1.5e9}


def test_a_cut_file_gives_what_is_complete(tmp_path: Path) -> None:
    whole = HEAD + event(1, ("loss", 2.0)) + event(2, ("loss", 1.5))
    history = read(tmp_path, whole + event(3, ("loss", 1.0))[:-9])
    assert history.partial
    assert points(history, "loss") == [(1, 2.0), (2, 1.5)]


def test_a_file_without_scalars_is_no_curve(tmp_path: Path) -> None:
    text = struct.pack("<Q", 13) + b"\0\0\0\0" + field(1, 1, struct.pack("<d", 1.0)) + field(2, 0, b"\1") + b"\x20\1"
    assert "none of its 2 events has a scalar" in read(tmp_path, HEAD + text + b"\0\0\0\0").nothing


def test_what_tensorboards_own_writer_wrote(tmp_path: Path) -> None:
    """An independent writer: old scalars and the tensors of newer versions."""
    writer_module = pytest.importorskip("torch.utils.tensorboard", reason="tensorboard is not installed")
    folder = tmp_path / "events"
    writer = writer_module.SummaryWriter(str(folder))
    for step in range(300):
        writer.add_scalar("train/loss", 3 - step / 256, step, new_style=step % 2 == 0)
    writer.add_histogram("weights", np.array([1.0, 2.0, 3.0]), 1)
    writer.add_text("note", "hello", 1)
    writer.close()
    (file,) = folder.iterdir()
    history = read(tmp_path, file.read_bytes())
    assert points(history, "loss") == [(step, 3 - step / 256) for step in range(300)]
    assert not history.partial
