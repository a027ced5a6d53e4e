"""Packed logs and standard input, as plain files: .gz, .bz2, .xz, .zst, .zip, .tar and what is piped in."""

import bz2
import gzip
import lzma
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ontogeny.core.errors import DataError
from ontogeny.integrations.importers._source import MOST_BYTES, NotReadableError

STANDARD_INPUT = Path("-")
_MOST_MEMBERS = 200
"""Most files of an archive that are looked at."""
_CHUNK = 1 << 20
_TAR_AT, _TAR = 257, b"ustar"
_DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, tarfile.TarError, NotImplementedError)


def _zst(path: Path) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], pa.input_stream(str(path), compression="zstd"))


_OPENERS: dict[bytes, Callable[[Path], IO[bytes]]] = {
    b"\x1f\x8b": lambda path: cast(IO[bytes], gzip.GzipFile(path)),
    b"BZh": lambda path: cast(IO[bytes], bz2.BZ2File(path)),
    b"\xfd7zXZ\x00": lambda path: cast(IO[bytes], lzma.LZMAFile(path)),  # noqa: SIM115  the caller closes it
    b"\x28\xb5\x2f\xfd": _zst,
}
"""How a packed file is opened, by its first bytes."""


@contextmanager
def plain_files(path: Path) -> Iterator[list[tuple[str, Path]]]:
    """The plain files that a path holds, each with its name; of a plain file, itself.

    Unpacked files are deleted afterwards. Raises DataError if an archive is damaged, NotReadableError if what it holds
    is larger than 1 GiB.
    """
    with tempfile.TemporaryDirectory(prefix="ontogeny-") as folder:
        given, name = path, path.name
        if path == STANDARD_INPUT:
            given, name = Path(folder) / "stdin", "standard input"
            _copy(sys.stdin.buffer, given, name)
        try:
            yield _unpacked(given, name, Path(folder))
        except _DAMAGED as error:
            if isinstance(error, FileNotFoundError) or not _is_packed(given):
                raise
            raise DataError(f"{path} cannot be unpacked: {error}") from None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_TAR_AT + len(_TAR))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def _is_packed(path: Path) -> bool:
    head = _head(path)
    return head.startswith((*_OPENERS, b"PK\x03\x04")) or head[_TAR_AT:] == _TAR


def _unpacked(path: Path, name: str, folder: Path) -> list[tuple[str, Path]]:
    head = _head(path)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
    if opener is not None:
        inner = folder / "unpacked"
        with opener(path) as packed:
            _copy(packed, inner, name)
        head, path = _head(inner), inner
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            return _members(names, archive.open, folder)
    if head[_TAR_AT:] == _TAR:
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar.getmembers() if member.isfile()}

            def opened(member: str) -> IO[bytes]:
                return cast(IO[bytes], tar.extractfile(members[member]))

            return _members(list(members), opened, folder)
    return [(name, path)]


def _members(names: list[str], opened: Callable[[str], IO[bytes]], folder: Path) -> list[tuple[str, Path]]:
    """Members under names of our own, so that no name in an archive is a path on this machine."""
    files = []
    for i, name in enumerate(name for name in names if not Path(name).name.startswith((".", "__MACOSX"))):
        if i >= _MOST_MEMBERS:
            raise DataError(f"the archive has more than {_MOST_MEMBERS} files: unpack it, and name the log")
        member = folder / f"member-{i}"
        with opened(name) as packed:
            _copy(packed, member, name)
        files.append((name, member))
    return files


def _copy(packed: IO[bytes], to: Path, name: str) -> None:
    size = 0
    with to.open("wb") as file:
        while data := packed.read(_CHUNK):
            size += len(data)
            if size > MOST_BYTES:
                raise NotReadableError(f"{name} has more than 1 GiB unpacked: give only the log")
            file.write(data)
