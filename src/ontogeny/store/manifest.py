"""The run's manifest: length and SHA-256 of every file that is written once, so that a lost or changed one is noticed.

It stays true wherever its writer is killed: a file is written before it is listed, and taken off the list before it is
removed or replaced. So what is listed must be there; what is not listed may be. Files that are replaced on the way
(status, provenance, slots, checkpoints' manifests) carry checksums of their own. Runs of earlier versions have no
manifest.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from ontogeny.core.errors import StoreError
from ontogeny.store import checksums, durable
from ontogeny.store.schema import FORMAT_VERSION, MANIFEST, PROVENANCE

_ATTEMPTS = 5

Value = TypeVar("Value")


class FileEntry(NamedTuple):
    """What a file must be."""

    bytes: int
    sha256: str


class Listed:
    """The files that a run must hold, as its manifest says at one moment; none if it has no manifest.

    Raises StoreError if the manifest is damaged.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.entries = _read(run / MANIFEST)

    def below(self, folder: str) -> dict[str, FileEntry]:
        """Entries of the files below a folder of the run, by path relative to the run."""
        return {name: entry for name, entry in self.entries.items() if name.startswith(f"{folder}/")}

    def require(self, folder: str) -> None:
        """Raise StoreError naming the first listed file below a folder that is missing."""
        for name in self.below(folder):
            if not (self.run / name).is_file():
                raise StoreError(f"{self.run / name} is missing: bring it back")

    def read(self, path: Path) -> bytes:
        """A file's bytes. Raises StoreError if it is missing, or listed and changed."""
        data = durable.read_bytes(path)
        entry = self.entries.get(path.relative_to(self.run).as_posix())
        if entry is not None and entry != FileEntry(len(data), hashlib.sha256(data).hexdigest()):
            raise _changed(path)
        return data

    def verify(self, folder: str) -> None:
        """Raise StoreError naming the first listed file below a folder that is missing or changed."""
        for name in self.below(folder):
            self.check(name)

    def check(self, name: str) -> None:
        """Raise StoreError if that listed file is missing or changed. It is read in pieces."""
        path = self.run / name
        try:
            now = FileEntry(path.stat().st_size, durable.hash_file(path))
        except FileNotFoundError:
            raise StoreError(f"{path} is missing: bring it back") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from None
        if now != self.entries[name]:
            raise _changed(path)


def _changed(path: Path) -> StoreError:
    return StoreError(f"{path} is damaged: its bytes are not those that were written")


def _read(path: Path) -> dict[str, FileEntry]:
    if not durable.is_there(path):
        return {}
    content = durable.read_json(path)
    try:
        return {name: FileEntry(int(entry["bytes"]), str(entry["sha256"])) for name, entry in content["files"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def has_checksums(run: Path) -> bool:
    """Was the run begun, or continued, by a version that keeps checksums? Its provenance carries one then."""
    try:
        return checksums.KEY in json.loads((run / PROVENANCE).read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return durable.is_there(run / MANIFEST)


def require_manifest(run: Path) -> None:
    """Raise StoreError if a run had a manifest and has none now."""
    if has_checksums(run) and not durable.is_there(run / MANIFEST):
        raise StoreError(
            f"{run / MANIFEST} is missing, which lists the run's files: bring it back, or write "
            '{"files": {}} into it to go on without knowing whether a file is lost'
        )


def steadily(read: Callable[[], Value]) -> Value:
    """What is read while a writer may be at it: a StoreError counts only if it comes again and again."""
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(StoreError):
            return read()
    return read()


class ManifestWriter:
    """Keeps the manifest of one run. One writer per run: the run's lock is held.

    Raises StoreError if the manifest is damaged or lost: a new one would hide which files are.
    """

    def __init__(self, run: Path) -> None:
        require_manifest(run)
        self._run = run
        self._entries = _read(run / MANIFEST)
        self._saved = dict(self._entries)

    def add(self, paths: Iterable[Path]) -> None:
        """List files that are durable already, as they are now. The list itself is durable after `save`."""
        for path in paths:
            entry = FileEntry(path.stat().st_size, durable.hash_file(path))
            self._entries[path.relative_to(self._run).as_posix()] = entry

    def drop(self, paths: Iterable[Path]) -> None:
        """Take files off the list, durably, before they are removed or replaced."""
        gone = {path.relative_to(self._run).as_posix() for path in paths}
        if gone & set(self._entries):
            self._write({name: entry for name, entry in self._entries.items() if name not in gone})

    def save(self) -> None:
        """Make the list durable, if it has changed. Raises RunFailedError if the disk is full, else StoreError."""
        if self._entries != self._saved:
            self._write(self._entries)

    def begin(self) -> None:
        """Have a manifest, if only an empty one: the run's provenance is about to say that there is one."""
        if not durable.is_there(self._run / MANIFEST):
            self._write(self._entries)

    def lists(self, path: Path) -> bool:
        """Is the file on the list?"""
        return path.relative_to(self._run).as_posix() in self._entries

    def _write(self, entries: Mapping[str, FileEntry]) -> None:
        files = {name: entry._asdict() for name, entry in sorted(entries.items())}
        durable.write_json(self._run / MANIFEST, {"format_version": FORMAT_VERSION, "files": files})
        self._entries, self._saved = dict(entries), dict(entries)
