"""A measure's group as a Zarr store: written through the file layer, each chunk checked as it is read."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from zarr.storage import LocalStore

from ontogeny.core.errors import StoreError
from ontogeny.core.json_types import JsonObject
from ontogeny.store import durable, schema
from ontogeny.store.slots import BEGUN, CHUNK_KEY, METADATA, expected_chunks

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


def check_chunk(path: Path, data: bytes, metadata: JsonObject) -> None:
    """Raise StoreError if a chunk is not what was written: by its CRC-32C, else by the checksum of its Zstd frame."""
    codecs = [codec.get("name") for codec in metadata.get("codecs", [])]
    if codecs[-1:] == ["crc32c"]:
        import google_crc32c

        whole = len(data) >= 4 and google_crc32c.value(data[:-4]).to_bytes(4, "little") == data[-4:]
        if not whole:
            raise StoreError(f"{path} is damaged: it does not have its checksum")
    elif codecs[-1:] == ["zstd"]:
        from numcodecs.zstd import Zstd

        try:
            Zstd().decode(data)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise StoreError(f"{path} is damaged: {error}") from None


def check_chunk_file(path: Path) -> None:
    """Read a chunk and check it. Raises StoreError if it, or its array's metadata, is missing or damaged."""
    group, data = path.parent.parent, durable.read_bytes(path)
    check_chunk(path, data, durable.read_object(path.parent / METADATA))
    _check_place(path, data, expected_chunks(group).get(path.relative_to(group).as_posix()))


def _check_place(path: Path, data: bytes, expected: str | None) -> None:
    """Raise StoreError if a whole chunk is another than the one that was written there."""
    if expected is not None and _sum_of(data) != expected:
        raise StoreError(f"{path} is damaged: it is whole, but not what was written there")


def _sum_of(data: bytes | memoryview) -> str:
    """The CRC-32C that a chunk ends with."""
    return bytes(data[-4:]).hex()


class GroupStore(LocalStore):
    """A group's directory as a Zarr store that writes through the file layer. New files become durable with `settle`.

    While a state is being written, some arrays have grown and others have not. With `length`, all of them are read as
    if axis `checkpoint` had that many slots, and a chunk that cannot be read raises StoreError: Zarr would take it for
    blank. Chunks are checked as they are read, with `sums` against `slots.expected_chunks`: a damaged one raises
    StoreError.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        read_only: bool = False,
        length: int | None = None,
        sums: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(root, read_only=read_only)
        self.written: dict[str, str] = {}
        """Sums of the chunks written so far, as in `slots.expected_chunks`."""
        self._sums = sums or {}
        self._unsettled: list[Path] = []
        self._length = length
        self._metadata: dict[str, JsonObject] = {}

    def with_read_only(self, read_only: bool = False) -> Self:
        """The same store for another use."""
        return type(self)(self.root, read_only=read_only, length=self._length, sums=self._sums)

    async def get(
        self, key: str, prototype: "BufferPrototype | None" = None, byte_range: "ByteRequest | None" = None
    ) -> "Buffer | None":
        """A file's bytes; None if missing. Raises StoreError for a damaged chunk, with `length` for a lost one."""
        path = self.root / key
        try:
            value = await super().get(key, prototype, byte_range)
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}") from None
        if CHUNK_KEY.fullmatch(key):
            if value is None and self._length is not None:
                raise StoreError(f"{path} is missing, or no file: measure it again")
            if value is not None and byte_range is None:
                data = value.to_bytes()
                check_chunk(path, data, self._metadata_of(key.partition("/")[0]))
                _check_place(path, data, self._sums.get(key))
        return self._with_length(key, value)

    def _metadata_of(self, name: str) -> JsonObject:
        if name not in self._metadata:
            self._metadata[name] = durable.read_object(self.root / name / METADATA)
        return self._metadata[name]

    def _with_length(self, key: str, value: "Buffer | None") -> "Buffer | None":
        """An array's metadata with `length` slots on axis `checkpoint`; any other file as it is."""
        if value is None or self._length is None or not key.endswith(f"/{METADATA}"):
            return value
        metadata = json.loads(value.to_bytes())
        if metadata.get("dimension_names", [])[:1] == ["checkpoint"]:
            metadata["shape"][0] = self._length
        return value.from_bytes(json.dumps(metadata).encode())

    async def set(self, key: str, value: "Buffer") -> None:
        """Write a file; see `settle`."""
        await asyncio.to_thread(self.set_sync, key, value)

    async def set_if_not_exists(self, key: str, value: "Buffer") -> None:
        """Write a file that is not there."""
        if not await self.exists(key):
            await self.set(key, value)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names of what Zarr knows in a folder."""
        async for name in super().list_dir(prefix):
            if name not in (schema.SLOTS, BEGUN) and not name.startswith(
                "."
            ):  # Zarr warns about files that it does not know
                yield name

    def set_sync(self, key: str, value: "Buffer") -> None:
        """Write a file; see `settle`."""
        path = self.root / key
        durable.make_folder(path.parent)
        if path.name == METADATA and path.exists():  # readers may be reading it
            durable.write_bytes(path, memoryview(value.to_bytes()))
        else:
            data = value.to_bytes()
            self._unsettled.append(path)
            durable.write_unsynced(path, memoryview(data))
            if CHUNK_KEY.fullmatch(key):
                self.written[key] = _sum_of(data)

    def settle(self) -> None:
        """Wait until all files written so far are on the disk."""
        durable.sync_files(self._unsettled)
        self._unsettled.clear()
