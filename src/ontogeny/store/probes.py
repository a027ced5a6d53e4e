"""Probe sets as Parquet files: one row per passage, with fingerprints that are checked when they are read."""

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from ontogeny.core.errors import StoreError, closest
from ontogeny.core.passages import Passage, ProbeSet, side_widths
from ontogeny.store import durable
from ontogeny.store.manifest import Listed
from ontogeny.store.schema import SIDE_COLUMN, is_file_name, probes_schema


def write_probes(folder: Path, probes: ProbeSet) -> Path:
    """Store a probe set; the identical set again changes nothing. Returns its file.

    Raises StoreError if another set has its name, or if the name cannot be a file's.
    """
    if not is_file_name(probes.name):
        raise StoreError(f"probe set '{probes.name}': use letters, digits, '_', '-' and '.' in its name")
    path = folder / f"{probes.name}.parquet"
    if path.exists():
        stored = read_probes(path)
        if stored.fingerprint != probes.fingerprint:
            raise StoreError(
                f"{path} holds another probe set ({stored.fingerprint}, not {probes.fingerprint}): choose another name"
            )
        return path
    passages = probes.passages
    columns = [
        pa.array(range(len(passages)), pa.int64()),
        pa.array([passage.text for passage in passages], pa.large_string()),
        _lists([passage.token_ids for passage in passages], np.dtype(np.int32)),
        _lists([passage.byte_offsets for passage in passages], np.dtype(np.int32)),
        _lists([passage.supervised for passage in passages], np.dtype(np.bool_)),
        pa.array([passage.source for passage in passages], pa.string()),
        pa.array([passage.fingerprint for passage in passages], pa.string()),
    ]
    widths = side_widths(passages)
    columns += [_lists([p.sides[name].reshape(-1) for p in passages], np.dtype(np.float32)) for name in widths]
    place = len(StoredProbes(folder))
    about = {"name": probes.name, "about": probes.about, "fingerprint": probes.fingerprint, "place": str(place)}
    about |= {"sides": json.dumps(widths)} if widths else {}
    if any(passage.bos_tokens for passage in passages):
        about["bos_tokens"] = json.dumps([passage.bos_tokens for passage in passages])
    durable.make_folder(folder)
    durable.write_table(path, pa.table(columns, schema=probes_schema(widths)).replace_schema_metadata(about))
    return path


def _lists(arrays: list[np.ndarray], dtype: np.dtype) -> pa.ListArray:
    values = np.concatenate([np.empty(0, dtype), *arrays]).astype(dtype, casting="same_kind", copy=False)
    ends = np.cumsum([0, *(len(array) for array in arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, values)


def read_probes(path: Path) -> ProbeSet:
    """Read a probe set. Raises StoreError if it is damaged or does not have the fingerprint it was stored with."""
    data = Listed(path.parent.parent).read(path)
    about = durable.parse_labels(path, data)
    widths: dict[str, int] = durable.parse_json(path, about.get("sides", "{}").encode())
    table = durable.parse_table(path, data, probes_schema(widths)).combine_chunks()
    bos_tokens = durable.parse_json(path, about.get("bos_tokens", "[]").encode()) or [0] * len(table)
    if len(bos_tokens) != len(table):
        raise StoreError(f"{path} is damaged: it says of {len(bos_tokens)} of its {len(table)} passages how they begin")
    texts, sources = table["text"].to_pylist(), table["source"].to_pylist()
    columns = [_split(table[name]) for name in ("token_ids", "byte_offsets", "supervised")]
    sides = {name: _split(table[SIDE_COLUMN + name]) for name in widths}
    probes = ProbeSet(
        name=path.stem,
        about=about.get("about", ""),
        passages=tuple(
            Passage(
                text=text,
                token_ids=ids,
                byte_offsets=offsets,
                source=source,
                supervised=supervised,
                sides={name: sides[name][row].reshape(-1, width) for name, width in widths.items()},
                bos_tokens=int(bos_tokens[row]),
            )
            for row, (text, source, ids, offsets, supervised) in enumerate(zip(texts, sources, *columns, strict=True))
        ),
    )
    if probes.fingerprint != about.get("fingerprint"):
        raise StoreError(
            f"{path} is damaged: its passages have fingerprint {probes.fingerprint}, "
            f"not {about.get('fingerprint', 'any')}"
        )
    return probes


def _split(column: pa.ChunkedArray) -> list[np.ndarray]:
    if not len(column):
        return []
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    ends = lists.offsets.to_numpy()
    values = np.array(lists.values)
    return [values[start:end] for start, end in itertools.pairwise(ends)]


class StoredProbes(Mapping[str, ProbeSet]):
    """The probe sets of a run by name, in the order in which they were stored, each read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, ProbeSet] = {}
        self._places: dict[str, int] = {}

    def __getitem__(self, name: str) -> ProbeSet:
        if name not in self._read:
            if name not in set(self):
                raise KeyError(f"no probe set '{name}' in {self._folder}: {closest(name, self)}")
            self._read[name] = read_probes(self._folder / f"{name}.parquet")
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        listed = Listed(self._folder.parent)
        listed.require(self._folder.name)
        names = [path.stem for path in self._folder.glob("[!.]*.parquet")]
        return iter(sorted(names, key=lambda name: (self._place(name, listed), name)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _place(self, name: str, listed: Listed) -> int:
        if name not in self._places:
            path = self._folder / f"{name}.parquet"
            place = durable.parse_labels(path, listed.read(path)).get("place", "0")
            self._places[name] = int(place) if place.isdecimal() else 0
        return self._places[name]
