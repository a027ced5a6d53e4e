"""Arrays recorded by measures: one Zarr group per measure, with an axis `checkpoint` in order of arrival.

`slots.json` says which slot of that axis holds which model state; it is replaced last, so that readers, who select and
sort by it, never see a torn write. A state that is measured again goes to a new slot. Chunks of zeros are written, too,
so that a lost file is an error and not a zero. A group is marked as begun until its first state is complete: only then
may it lack `slots.json`.
"""

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from ontogeny.core.errors import StoreError
from ontogeny.core.json_types import JsonObject
from ontogeny.core.measures import ADDED_LATER, PRECISION
from ontogeny.core.progress import Place
from ontogeny.store import durable, schema
from ontogeny.store.group_store import GroupStore
from ontogeny.store.slots import (
    BEGUN,
    CHUNK_SUMS,
    METADATA_SUMS,
    Slots,
    check_metadata,
    expected_chunks,
    metadata_sums,
    read_slots,
    refuse_lost_slots,
)

if TYPE_CHECKING:
    from zarr.core.array_spec import ArrayConfigLike

_COMPRESSORS = (ZstdCodec(level=1, checksum=True), Crc32cCodec())
_ARRAY_CONFIG: "ArrayConfigLike" = {"write_empty_chunks": True}
_CHUNK = re.compile(r"c\.(\d+)((?:\.\d+)*)")


def open_group(group: Path) -> xr.Dataset:
    """Open a measure's arrays lazily, axis `checkpoint` sorted by step.

    Raises StoreError if chunks are missing or a file is not what was written; a damaged chunk raises it when its values
    are read.
    """
    slots = read_slots(group)
    check_metadata(group)
    store = GroupStore(group, read_only=True, length=max(slots, default=-1) + 1, sums=expected_chunks(group))
    try:
        dataset = xr.open_zarr(store, consolidated=False, chunks=None, decode_cf=False)
        coordinates, variables = _pop_names(dataset.attrs)
        _check_chunks(group, dataset, slots, set(coordinates))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(f"{group} is damaged: {(str(error).splitlines() or [''])[0]}") from None
    for name in coordinates:
        if dataset[name].dtype.kind == "T":
            dataset[name] = dataset[name].copy(data=dataset[name].values.astype(object).astype(str))
    order = sorted(slots, key=lambda slot: slots[slot].step)
    dataset = dataset.set_coords(coordinates)[[*coordinates, *variables]].isel(checkpoint=order)
    places = [asdict(slots[slot]) for slot in order]
    return dataset.assign_coords(
        {name: ("checkpoint", np.array([place[name] for place in places])) for name in schema.CHECKPOINT_COORDINATES}
    )


def _check_chunks(group: Path, dataset: xr.Dataset, slots: Iterable[int], coordinates: set[str]) -> None:
    """Raise StoreError if a chunk is missing: Zarr would read it as zeros or NaN."""
    for name, variable in dataset.variables.items():
        folder = group / str(name)
        files = set(os.listdir(folder))
        chunks = variable.encoding["chunks"]
        indices: list[Iterable[int]] = [
            range(math.ceil(size / chunk)) for size, chunk in zip(variable.shape, chunks, strict=True)
        ]
        if name not in coordinates:
            indices[0] = slots
        for index in itertools.product(*indices):
            chunk = ".".join(["c", *map(str, index)])
            if chunk not in files:
                raise StoreError(f"{folder / chunk} is missing, so '{name}' cannot be read: measure it again")


class GroupWriter:
    """Writes the arrays of one measure. One writer per run: the run's lock is held."""

    def __init__(self, group: Path) -> None:
        self._path = group
        self._slots = read_slots(group)
        self._sums = expected_chunks(group)
        self._forget()
        if group.exists() and not self._slots:
            refuse_lost_slots(group)
            durable.remove_tree(group)
        if self._slots:
            check_metadata(group)
            if (group / BEGUN).exists():
                durable.remove_files([group / BEGUN])
            self._truncate()

    def _forget(self) -> None:
        """Drop what is cached of the group, which may have changed on the disk."""
        self._group: zarr.Group | None = None
        self._arrays: dict[str, zarr.Array] = {}
        self._digests: dict[str, str] = {}
        self._metadata: dict[str, str] = {}

    def put(self, place: Place, dataset: xr.Dataset) -> None:
        """Store a measure's result at one state; durable on return. The result of an earlier put is replaced.

        A variable marked `core.measures.ADDED_LATER` is left out of a group that was begun without it.

        Raises TypeError if the dataset breaks `schema.check`, StoreError naming the variable if axes, coordinates,
        dtypes or attributes differ from what the group holds, and RunFailedError if the disk is full.
        """
        schema.check(dataset)
        slot = max(self._slots, default=-1) + 1
        try:
            if self._slots:
                dataset = self._as_begun(dataset)
                self._match(dataset)
            else:
                self._create(dataset)
            for name, array in dataset.data_vars.items():
                self._append(str(name), array, slot)
            store = self._opened().store
            assert isinstance(store, GroupStore)
            store.settle()
            slots = {number: kept for number, kept in self._slots.items() if kept.step != place.step} | {slot: place}
            self._write_slots(slots)
        except OSError as error:
            self._forget()
            raise durable.failure(self._path, error) from error
        except BaseException:
            self._forget()
            raise

    def rewind(self, step: int) -> None:
        """Drop all states later than `step`."""
        kept = {slot: place for slot, place in self._slots.items() if place.step <= step}
        if kept == self._slots:
            return
        if not kept:
            durable.remove_tree(self._path)
            self._slots = {}
            self._forget()
            return
        self._write_slots(kept)
        self._truncate()

    def _opened(self) -> zarr.Group:
        if self._group is None:
            self._group = zarr.open_group(GroupStore(self._path), mode="a", zarr_format=3)
        return self._group

    def _array(self, name: str) -> zarr.Array:
        if name not in self._arrays:
            array = self._opened()[name]
            assert isinstance(array, zarr.Array)
            self._arrays[name] = array.with_config(_ARRAY_CONFIG)
        return self._arrays[name]

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = _digest(np.asarray(self._array(name)[...]))
        return self._digests[name]

    def _create(self, dataset: xr.Dataset) -> None:
        if self._path.exists():
            refuse_lost_slots(self._path)
            durable.remove_tree(self._path)
        durable.make_folder(self._path)
        durable.write_bytes(self._path / BEGUN, b"")
        self._group = zarr.create_group(
            GroupStore(self._path),
            zarr_format=3,
            attributes={
                **_plain(dataset.attrs),
                "coordinates": " ".join(map(str, dataset.coords)),
                "variables": " ".join(map(str, dataset.data_vars)),
            },
        )
        for name, array in dataset.coords.items():
            self._declare(str(name), array, ())[...] = _stored(array)
        for name, array in dataset.data_vars.items():
            self._declare(str(name), array, ("checkpoint",))

    def _declare(self, name: str, array: xr.DataArray, leading: tuple[str, ...]) -> zarr.Array:
        sizes = [
            min(size, schema.CHUNK_TOKENS) if axis in schema.FLAT_AXES else size for axis, size in array.sizes.items()
        ]
        return self._opened().create_array(
            name,
            shape=(*(0 for _ in leading), *array.shape),
            chunks=(*(1 for _ in leading), *(max(size, 1) for size in sizes)),
            dtype=_dtype(array),
            dimension_names=(*leading, *map(str, array.dims)),
            attributes=_plain(array.attrs),
            fill_value=np.nan if array.dtype.kind == "f" else None,
            compressors=_COMPRESSORS,
            config=_ARRAY_CONFIG,
            chunk_key_encoding={"name": "default", "separator": "."},
        )

    def _append(self, name: str, array: xr.DataArray, slot: int) -> None:
        stored = self._array(name)
        if stored.shape[0] != slot + 1:
            stored.resize((slot + 1, *stored.shape[1:]))
        stored[slot] = _stored(array)

    def _as_begun(self, dataset: xr.Dataset) -> xr.Dataset:
        """Without what the version that began the group did not record yet, and coordinates of that alone."""
        held = set(_pop_names(dict(self._opened().attrs))[1])
        later = [name for name, array in dataset.data_vars.items() if ADDED_LATER in array.attrs and name not in held]
        if not later:
            return dataset
        kept = dataset.drop_vars(later)
        axes = {axis for array in kept.data_vars.values() for axis in array.dims}
        return kept.drop_vars([name for name, array in kept.coords.items() if not set(array.dims) <= axes])

    def _match(self, dataset: xr.Dataset) -> None:
        """Raise StoreError if the dataset differs in form from the group, before anything is written."""
        group = self._opened()
        attributes = dict(group.attrs)
        coordinates, variables = _pop_names(attributes)
        said = _plain(dataset.attrs)
        if PRECISION not in attributes:  # an earlier version began the group, which did not say it
            said.pop(PRECISION, None)
        if attributes != said:
            raise self._refusal("its attributes", attributes, said)
        for kind, before, now in (
            ("coordinate", set(coordinates), set(map(str, dataset.coords))),
            ("variable", set(variables), set(map(str, dataset.data_vars))),
        ):
            for name in sorted(before ^ now):
                raise StoreError(
                    f"{self._path}: {kind} '{name}' {'is missing now' if name in before else 'was not there before'}: "
                    "give the measure a name of its own to store it beside"
                )
        for variable, array in dataset.variables.items():
            name = str(variable)
            leading = () if name in coordinates else ("checkpoint",)
            stored = self._array(name)
            axes = _axes((*leading, *array.dims), (*stored.shape[: len(leading)], *array.shape))
            stored_axes = _axes(_axis_names(stored), stored.shape)
            if axes != stored_axes:
                raise self._refusal(f"'{name}'", stored_axes, axes)
            if _dtype(array) != _dtype(stored):
                raise self._refusal(f"'{name}'", _dtype(stored), _dtype(array))
            meant, means = _meaning(dict(stored.attrs)), _meaning(_plain(array.attrs))
            if meant != means:
                raise self._refusal(f"'{name}'", meant, means)
            if not leading and self._digest(name) != _digest(array.values):
                raise StoreError(
                    f"{self._path}: coordinate '{name}' has other values than before: "
                    "give the measure a name of its own to store it beside"
                )

    def _refusal(self, what: str, before: object, now: object) -> StoreError:
        return StoreError(
            f"{self._path}: {what} had {before} before, now {now}: "
            "give the measure a name of its own to store it beside"
        )

    def _write_slots(self, slots: Slots) -> None:
        entries = [{"slot": slot, **asdict(place)} for slot, place in slots.items()]
        content = {"format_version": schema.FORMAT_VERSION, "slots": entries}
        metadata, sums = self._metadata or metadata_sums(self._path), self._sums_of(slots)
        durable.write_json(self._path / schema.SLOTS, {**content, METADATA_SUMS: metadata, CHUNK_SUMS: sums})
        if not self._slots:
            durable.remove_files([self._path / BEGUN])
        self._slots, self._metadata, self._sums = slots, metadata, sums

    def _sums_of(self, slots: Slots) -> dict[str, str]:
        """Sums of the chunks that hold those slots, and of the coordinates."""
        group = self._opened()
        assert isinstance(group.store, GroupStore)
        coordinates = _pop_names(dict(group.attrs))[0]
        kept = {}
        for key, sum_of_chunk in {**(self._sums if self._slots else {}), **group.store.written}.items():
            name, _, chunk = key.partition("/")
            match = _CHUNK.fullmatch(chunk)
            if name in coordinates or (match and int(match[1]) in slots):
                kept[key] = sum_of_chunk
        return kept

    def _truncate(self) -> None:
        """Remove what no slot refers to: torn writes, replaced and rewound states."""
        length = max(self._slots) + 1
        for name in _pop_names(dict(self._opened().attrs))[1]:
            array = self._array(name)
            if array.shape[0] > length:
                array.resize((length, *array.shape[1:]))
            for path in (self._path / name).iterdir():
                match = _CHUNK.fullmatch(path.name)
                if match and int(match[1]) not in self._slots:
                    path.unlink()
        for path in [self._path, *self._path.iterdir()]:
            if path.is_dir():
                durable.remove_leftovers(path)


def _pop_names(attributes: JsonObject) -> tuple[list[str], list[str]]:
    """Remove from a group's attributes, and return, the names of coordinates and variables in the measure's order."""
    return str(attributes.pop("coordinates")).split(), str(attributes.pop("variables")).split()


def _meaning(attributes: JsonObject) -> JsonObject:
    """Attributes without the description, which may be worded otherwise by another version."""
    return {key: value for key, value in attributes.items() if key != "long_name"}


def _dtype(array: "xr.Variable | xr.DataArray | zarr.Array") -> str:
    """The dtype's name; `str` for any representation of text."""
    return "str" if array.dtype.kind in "OUT" else str(array.dtype)


def _stored(array: xr.DataArray) -> np.ndarray:
    """The values as Zarr stores them: text of variable length."""
    values = np.asarray(array.values)
    return values.astype(np.dtypes.StringDType()) if values.dtype.kind in "OU" else values


def _plain(attributes: Mapping[str, object]) -> JsonObject:
    """Attributes as they come back from JSON, where tuples are lists."""
    plain: JsonObject = json.loads(json.dumps(dict(attributes)))
    return plain


def _axis_names(stored: zarr.Array) -> tuple[str, ...]:
    names = getattr(stored.metadata, "dimension_names", None) or ()
    return tuple(str(name) for name in names)


def _axes(dims: Iterable[object], shape: Iterable[int]) -> str:
    return "(" + ", ".join(f"{axis}: {size}" for axis, size in zip(dims, shape, strict=True)) + ")"


def _digest(values: np.ndarray) -> str:
    """SHA-256 of a coordinate's values."""
    raw = json.dumps(values.tolist()).encode() if values.dtype.kind in "OUT" else np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(raw).hexdigest()
