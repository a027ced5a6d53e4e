"""Teachers' next-token targets on disk, beside the runs: written once, read by every run that learns the same.

``cached_targets/<of what>/<of which passages>/``: `rows.bin` (`TargetForm.row` of every target token, passage after
passage), `passages.bin` (fingerprint of each passage, number of its rows), `targets.json` (of what they are) and
`MANIFEST.json` with length and SHA-256 of the three. A shard is filled under a hidden name and renamed when it is
whole, so that a killed writer leaves nothing that is read.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ontogeny.core.cached_targets import TargetForm
from ontogeny.core.errors import StoreError
from ontogeny.core.json_types import JsonObject
from ontogeny.core.passages import Passage
from ontogeny.store import durable
from ontogeny.store.manifest import Listed, ManifestWriter
from ontogeny.store.schema import CACHED_TARGETS_FOLDER, FORMAT_VERSION, MANIFEST

ROWS, PASSAGES, DESCRIPTION = "rows.bin", "passages.bin", "targets.json"
_AGAIN = "remove {}, and it is filled again"
_ENTRY = np.dtype([("fingerprint", "S16"), ("rows", "<i8")])


@dataclass(frozen=True, kw_only=True)
class TargetsKey:
    """Of what targets are: all that decides what a shard holds."""

    teacher_sha256: str
    """Of its weights."""
    config_sha256: str
    """Of its settings, as `models.companions.config_sha256`."""
    tokenizer_sha256: str
    passages_sha256: str
    """Of the passages in their order, as `core.passages.ProbeSet.fingerprint`."""
    form: TargetForm

    def folder(self, beside: Path) -> Path:
        """Where the shard lies, in the folder of runs `beside`."""
        of = {key: value for key, value in self.described().items() if key != "passages_sha256"}
        digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:12]
        return beside / CACHED_TARGETS_FOLDER / digest / self.passages_sha256

    def described(self) -> JsonObject:
        """As JSON."""
        return {"format_version": FORMAT_VERSION, **json.loads(json.dumps(asdict(self)))}


class TargetShard:
    """The targets of one set of passages, read from the disk as they are asked for.

    Raises StoreError in one line if anything is missing or damaged, or is not of `key`. Every byte is read once.
    """

    def __init__(self, folder: Path, key: TargetsKey) -> None:
        self.folder, self.form = folder, key.form
        try:
            listed = Listed(folder)
            for name in (ROWS, PASSAGES, DESCRIPTION):
                if name not in listed.entries:
                    raise StoreError(f"{folder / MANIFEST} does not list {name}")
                listed.check(name)
            if durable.read_object(folder / DESCRIPTION) != key.described():
                raise StoreError(f"{folder} holds cached targets of another teacher, text or form")
            entries = np.frombuffer(listed.read(folder / PASSAGES), dtype=_ENTRY)
        except StoreError as error:
            raise StoreError(f"{error}; {_AGAIN.format(folder)}") from None
        self.sha256 = listed.entries[ROWS].sha256
        """Of all rows."""
        self.rows = int(entries["rows"].sum())
        """Target tokens."""
        ends = np.cumsum(entries["rows"])
        self._places = {
            entry["fingerprint"].decode(): slice(int(end - entry["rows"]), int(end))
            for entry, end in zip(entries, ends, strict=True)
        }
        self._file = (folder / ROWS).open("rb")  # read, not mapped: a mapping of a file that is cut kills the process

    def rows_of(self, passages: Sequence[Passage]) -> np.ndarray:
        """`form.row` [n]: of the target tokens of the passages, one after the other.

        Raises StoreError for a passage that it does not hold, and where the file is no longer what was checked.
        """
        for passage in passages:
            if passage.fingerprint not in self._places:
                raise StoreError(f"{self.folder} holds no targets of passage {passage.source}")
        rows = np.concatenate([self._read(self._places[passage.fingerprint]) for passage in passages])
        if rows["ids"].size and int(rows["ids"].max()) >= self.form.vocabulary:
            raise StoreError(f"{self.folder / ROWS} was changed while it is read: {_AGAIN.format(self.folder)}")
        return rows

    def _read(self, place: slice) -> np.ndarray:
        size = self.form.row.itemsize
        content = os.pread(self._file.fileno(), (place.stop - place.start) * size, place.start * size)
        if len(content) < (place.stop - place.start) * size:
            raise StoreError(f"{self.folder / ROWS} was cut while it is read: {_AGAIN.format(self.folder)}")
        return np.frombuffer(content, dtype=self.form.row)


class ShardWriter:
    """Takes rows, passage after passage, in the order in which they will lie."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.entries: list[tuple[bytes, int]] = []

    def add(self, passages: Sequence[Passage], rows: np.ndarray) -> None:
        """`rows` [n]: of the target tokens of these passages."""
        counts = [target_tokens(passage) for passage in passages]
        if sum(counts) != len(rows):
            raise ValueError(f"{len(rows)} rows for passages of {sum(counts)} target tokens")
        self.entries += [(p.fingerprint.encode(), count) for p, count in zip(passages, counts, strict=True)]
        durable.write_all(self._descriptor, memoryview(rows.tobytes()))


def target_tokens(passage: Passage) -> int:
    """How many of its tokens are targets."""
    return int(passage.supervised[1:].sum())


@contextlib.contextmanager
def writing_shard(folder: Path, key: TargetsKey) -> Iterator[ShardWriter]:
    """Yield a writer, and make what it wrote the shard of `key` when the block ends without an exception.

    The caller holds the shard's lock. Raises RunFailedError if the disk is full, else StoreError.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    durable.make_folder(folder.parent)
    if temporary.is_symlink() or temporary.is_file():  # what a link points to is nobody's to overwrite
        temporary.unlink()
    shutil.rmtree(temporary, ignore_errors=True)
    durable.make_folder(temporary)
    try:
        descriptor = os.open(temporary / ROWS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            writer = ShardWriter(descriptor)
            yield writer
            durable.sync(descriptor)
        finally:
            os.close(descriptor)
        durable.write_bytes(temporary / PASSAGES, np.array(writer.entries, dtype=_ENTRY).tobytes())
        durable.write_json(temporary / DESCRIPTION, key.described())
        manifest = ManifestWriter(temporary)
        manifest.add(temporary / name for name in (ROWS, PASSAGES, DESCRIPTION))
        manifest.save()
        durable.rename(temporary, folder)
        durable.sync_path(folder.parent)
    except OSError as error:
        raise durable.failure(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def lock_path(folder: Path) -> Path:
    """Of the lock that a shard's writer holds."""
    return folder.with_name(f".{folder.name}.lock")
