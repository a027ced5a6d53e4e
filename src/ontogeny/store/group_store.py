"""A measure's group as a Zarr store: written through the file layer, each chunk checked as it is read."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from zarr.storage import LocalStore

from ontogeny.core.errors import StoreError
from ontogeny.core.json_types import JsonObject
from ontogeny.store import durable, schema
from ontogeny.store.slots import BEGUN, CHUNK_KEY, METADATA

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
    check_chunk(path, durable.read_bytes(path), durable.read_object(path.parent / METADATA))


class GroupStore(LocalStore):
    """A group's directory as a Zarr store that writes through the file layer. New files become durable with `settle`.

    While a state is being written, some arrays have grown and others have not. With `length`, all of them are read as
    if axis `checkpoint` had that many slots. Chunks are checked as they are read: a damaged one raises StoreError.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False, length: int | None = None) -> None:
        super().__init__(root, read_only=read_only)
        self._unsettled: list[Path] = []
        self._length = length
        self._metadata: dict[str, JsonObject] = {}

    def with_read_only(self, read_only: bool = False) -> Self:
        """The same store for another use."""
        return type(self)(self.root, read_only=read_only, length=self._length)

    async def get(
        self, key: str, prototype: "BufferPrototype | None" = None, byte_range: "ByteRequest | None" = None
    ) -> "Buffer | None":
        """A file's bytes; None if it is missing. Raises StoreError for a damaged chunk."""
        value = await super().get(key, prototype, byte_range)
        if value is not None and byte_range is None and CHUNK_KEY.fullmatch(key):
            check_chunk(self.root / key, value.to_bytes(), self._metadata_of(key.partition("/")[0]))
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
            self._unsettled.append(path)
            durable.write_unsynced(path, memoryview(value.to_bytes()))

    def settle(self) -> None:
        """Wait until all files written so far are on the disk."""
        durable.sync_files(self._unsettled)
        self._unsettled.clear()
