"""Packed logs, standard input, and logs with holes."""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from ontogeny.core.errors import DataError
from ontogeny.integrations.importers import _packed
from ontogeny.integrations.importers._source import NotReadableError
from ontogeny.integrations.importing import logs_under, read_history
from tests.integrations.importers.reading import points, read

LOG = b"step 10 loss 4.5\nstep 20 loss 4.25\nstep 30 loss 4.0\n"
RUN = [(10, 4.5), (20, 4.25), (30, 4.0)]


def _zst(data: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(data)
    return packed.getvalue().to_pybytes()


def _zip(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("notes.md", "read me\n" * 400)
        archive.writestr("../outside.log", data)
    return packed.getvalue()


def _tar(data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("logs/train.log")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": _zst,
    "zip": _zip,
    "tar": _tar,
    "tar.gz": lambda data: gzip.compress(_tar(data)),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_log_is_read_by_its_content(kind: str, tmp_path: Path) -> None:
    history = read(tmp_path, PACKERS[kind](LOG))
    assert points(history, "loss") == RUN
    assert not (tmp_path.parent / "outside.log").exists()


def test_of_an_archive_the_log_is_named(tmp_path: Path) -> None:
    assert "of 2 files in the archive, ../outside.log was read" in read(tmp_path, _zip(LOG)).notes


def test_a_damaged_archive_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be unpacked"):
        read(tmp_path, gzip.compress(LOG * 100)[:60])


def test_what_is_too_large_when_unpacked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_packed, "MOST_BYTES", 1000)
    with pytest.raises(NotReadableError, match="more than 1 GiB unpacked"):
        read(tmp_path, gzip.compress(b"\0" * 100_000))


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(LOG)))
    assert list(logs_under(Path("-"))) == [Path("-")]
    assert points(read_history(Path("-")), "loss") == RUN


def test_holes_of_nul_bytes_are_left_out_and_said(tmp_path: Path) -> None:
    history = read(tmp_path, b"\0" * 64 + LOG)
    assert points(history, "loss") == RUN
    assert "NUL bytes were left out" in history.notes
