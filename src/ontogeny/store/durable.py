"""The file layer: every byte that a run's writer stores goes through the three primitives of this module.

A file has either its old content or all of its new content, even after a power cut: bytes are written beside the file,
flushed to the disk, renamed over it, and the directory is flushed. A failure leaves no temporary file behind and is
reported in one line.
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ontogeny.core.errors import OntogenyError, RunFailedError, StoreError
from ontogeny.core.json_types import JsonObject
from ontogeny.store import checksums, parquet_bounds

_FULL = (errno.ENOSPC, errno.EDQUOT)


def write_all(descriptor: int, data: memoryview) -> None:
    """Primitive: write all bytes to an open file."""
    while data:
        data = data[os.write(descriptor, data) :]


def sync(descriptor: int) -> None:
    """Primitive: wait until an open file or directory is on the disk."""
    os.fsync(descriptor)


def rename(source: Path, target: Path) -> None:
    """Primitive: move within a file system, atomically, replacing a file."""
    os.replace(source, target)


def failure(path: Path, error: BaseException) -> OntogenyError:
    """The error that says in one line what could not be written and why.

    RunFailedError if the disk is full, StoreError for anything else (no permission, read-only).
    """
    if is_disk_full(error):
        return RunFailedError(
            f"disk full: {path} could not be written, {_free_space(path)} free; "
            "what was recorded before is intact: free some space, then resume"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return StoreError(f"{path} could not be written: {reason}; what was recorded before is intact")


def is_disk_full(error: BaseException) -> bool:
    """Is the cause a full disk or an exhausted quota? Native writers say so only in their message."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return any(os.strerror(number) in str(error) for number in _FULL)


def _free_space(path: Path) -> str:
    for folder in path.parents:
        with contextlib.suppress(OSError):
            free_bytes = shutil.disk_usage(folder).free
            return f"{free_bytes / 1e9:.1f} GB" if free_bytes >= 1e9 else f"{free_bytes / 1e6:.1f} MB"
    return "unknown space"


def make_folder(path: Path) -> None:
    """Create a directory and its parents durably. Raises RunFailedError if the disk is full, else StoreError."""
    if path.is_dir():
        return
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_path(folder.parent)
    except OSError as error:
        raise failure(path, error) from error


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace a file atomically and durably. Raises RunFailedError if the disk is full, else StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_new(temporary, data, wait=True)
        rename(temporary, path)
        sync_path(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise failure(path, error) from error
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and move it over `path` when the block ends without an exception.

    Raises RunFailedError if the disk is full, else StoreError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        sync_path(temporary)
        rename(temporary, path)
    except OSError as error:
        raise failure(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_unsynced(path: Path, data: bytes | memoryview) -> None:
    """Write a file that nothing refers to yet; `sync_files` has to make it durable before something does."""
    try:
        _write_new(path, data, wait=False)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise failure(path, error) from error


def _write_new(path: Path, data: bytes | memoryview, wait: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        write_all(descriptor, memoryview(data))
        if wait:
            sync(descriptor)
    finally:
        os.close(descriptor)


def sync_path(path: Path) -> None:
    """Wait until a file's content, or a directory's entries, are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until files and the directories that list them are on the disk."""
    files = list(paths)
    for path in [*files, *sorted({file.parent for file in files})]:
        try:
            sync_path(path)
        except OSError as error:
            raise failure(path, error) from error


def sync_tree(folder: Path) -> None:
    """Wait until everything below a directory is on the disk."""
    for path in [*folder.rglob("*"), folder]:
        try:
            sync_path(path)
        except OSError as error:
            raise failure(path, error) from error


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file; an object carries a checksum of itself (`store.checksums`), which `read_json` verifies.

    Numbers that are not finite become null; numpy scalars become numbers. Raises TypeError for values that JSON does
    not know, RunFailedError if the disk is full, else StoreError.
    """
    plain = _finite(value)
    write_bytes(path, json_bytes(checksums.sealed(plain) if isinstance(plain, dict) else plain))


def json_bytes(value: object) -> bytes:
    """JSON as it stands in a run's files. Raises ValueError for numbers that are not finite."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _finite(value: object) -> object:
    """The value with null for NaN and infinities, and without numpy scalars."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def is_there(path: Path) -> bool:
    """Is there an entry of that name? True, too, for a link to nowhere: its file is lost, not yet to be written."""
    return os.path.lexists(path)


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises StoreError naming it if it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path} is missing") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None


def read_json(path: Path) -> Any:
    """Read a JSON file, without its checksum. Raises StoreError if it is missing, not JSON, or not what was written."""
    return parse_json(path, read_bytes(path))


def read_object(path: Path) -> JsonObject:
    """Read a JSON file that holds an object. Raises StoreError as `read_json`, and for anything but an object."""
    value: object = read_json(path)
    if not isinstance(value, dict):
        raise StoreError(f"{path} is damaged: it holds no JSON object")
    return value


def parse_json(path: Path, data: bytes) -> Any:
    """The value of a JSON file that was read. Raises StoreError if it is not JSON, or not what was written."""
    try:
        return checksums.unsealed(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {error}") from None


def write_table(path: Path, table: pa.Table) -> None:
    """Replace a Parquet file, with a checksum on every page. Raises as `write_bytes`."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    write_bytes(path, buffer.getbuffer())


def parse_labels(path: Path, data: bytes) -> dict[str, str]:
    """The text metadata of a Parquet file that was read, by key. Raises StoreError if the file is damaged."""
    try:
        labels = pq.read_schema(pa.BufferReader(data)).metadata or {}
        return {key.decode(): value.decode() for key, value in labels.items() if key != b"ARROW:schema"}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(path, error) from None


def parse_table(path: Path, data: bytes, schema: pa.Schema, rows: int | None = None) -> pa.Table:
    """The table of a Parquet file that was read, every page checked; `rows`: how many it must have.

    Raises StoreError if it is damaged, has another schema, other or too many rows; the latter before it is decoded.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            if rows is not None and file.metadata.num_rows != rows:
                raise StoreError(f"{path} holds {file.metadata.num_rows} rows, not the {rows} of its name")
            if why := parquet_bounds.excess(file.metadata):
                raise StoreError(f"{path} is damaged: it {why}")
            table = file.read()
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    if not table.schema.equals(schema):
        raise StoreError(f"{path} holds other columns than a run's: {', '.join(table.schema.names)}")
    return table


def _damaged(path: Path, error: BaseException) -> StoreError:
    return StoreError(f"{path} is damaged: {(str(error).splitlines() or [type(error).__name__])[0]}")


@contextlib.contextmanager
def filling(path: Path) -> Iterator[None]:
    """While others write below `path`: a full disk is reported as RunFailedError that names the file or `path`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OntogenyError) or not is_disk_full(error):
            raise
        named = getattr(error, "filename", None)
        raise failure(Path(named) if isinstance(named, str) else path, error) from error


def hash_file(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files one after the other; a power cut leaves the later ones."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            sync_path(path.parent)
        except OSError as error:
            raise failure(path, error) from error


def remove_tree(path: Path) -> None:
    """Remove a directory atomically for readers: it is renamed to a hidden name first."""
    doomed = path.with_name(f".{path.name.lstrip('.')}.gone")
    try:
        if doomed.exists():
            shutil.rmtree(doomed)
        rename(path, doomed)
        try:
            sync_path(path.parent)
        finally:
            shutil.rmtree(doomed)
    except OSError as error:
        raise failure(path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and half-removed directories that a killed writer left in a directory."""
    for path in [*folder.glob(".*.tmp"), *folder.glob(".*.gone")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
