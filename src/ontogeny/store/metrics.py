"""Scalars in Parquet parts that are named after their rows, so rows can be neither doubled nor lost unnoticed.

``part-<first>-<end>.parquet`` holds rows first … end - 1. A merge writes the merged part before it removes the small
ones, so a reader takes the longest part that starts where the last one ended, and ignores leftover parts.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from ontogeny.core.errors import StoreError
from ontogeny.store import durable
from ontogeny.store.manifest import Listed, ManifestWriter, steadily
from ontogeny.store.schema import METRICS

if TYPE_CHECKING:
    import pandas as pd

BIG_PART_ROWS = 65_536
"""Parts of at least this many rows are never rewritten."""
SMALL_PARTS = 32
"""The small parts at the end are merged when there are this many."""

Row = tuple[int, float, str, str, float]
"""step, time_unix_s, name, scope, value"""


class PartFile(NamedTuple):
    """Rows `first` … `end` - 1, and the file that holds them."""

    first: int
    end: int
    path: Path


_NAME = re.compile(r"part-(\d+)-(\d+)\.parquet")
_DECODED = pa.schema([pa.field(f.name, pa.string() if pa.types.is_dictionary(f.type) else f.type) for f in METRICS])


def part_path(folder: Path, first: int, end: int) -> Path:
    """Name of the part that holds rows `first` … `end` - 1."""
    return folder / f"part-{first:010d}-{end:010d}.parquet"


def list_parts(folder: Path) -> list[PartFile]:
    """All parts in a directory, by first row, the longest first."""
    parts = []
    if folder.is_dir():
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                parts.append(PartFile(int(match[1]), int(match[2]), path))
    return sorted(parts, key=lambda part: (part.first, -part.end))


def cover(parts: Sequence[PartFile]) -> list[PartFile]:
    """The parts that together hold each row once. Raises StoreError if rows are missing in between."""
    chosen: list[PartFile] = []
    row = 0
    for part in parts:
        if part.first == row:
            chosen.append(part)
            row = part.end
        elif part.first > row:
            raise StoreError(
                f"{part.path.parent}: metrics rows {row} to {part.first - 1} are missing: restore their part"
            )
    return chosen


def part_names(folder: Path) -> tuple[str, ...]:
    """File names of all parts now in the directory: while they stay the same, so do the rows."""
    return tuple(part.path.name for part in list_parts(folder))


def read_rows(folder: Path) -> pa.Table:
    """Read all rows in written order, even while a writer adds, merges or cuts parts.

    Raises StoreError if a part is damaged or missing, also one at the end that the run's manifest lists.
    """

    def read() -> pa.Table:
        listed = Listed(folder.parent)
        listed.require(folder.name)
        return _read(cover(list_parts(folder)), listed)

    return steadily(read)


def to_frame(table: pa.Table) -> "pd.DataFrame":
    """The rows as a data frame, with name and scope as text."""
    return table.cast(_DECODED).to_pandas()


def _read(parts: Sequence[PartFile], listed: Listed) -> pa.Table:
    tables = []
    for part in parts:
        tables.append(durable.parse_table(part.path, listed.read(part.path), METRICS, rows=part.end - part.first))
    return pa.concat_tables(tables).unify_dictionaries() if tables else METRICS.empty_table()


class MetricsWriter:
    """Appends, merges and cuts parts. One writer per run: the run's lock must be held."""

    def __init__(self, folder: Path, manifest: ManifestWriter) -> None:
        self._folder = folder
        self._manifest = manifest
        durable.make_folder(folder)
        durable.remove_leftovers(folder)
        Listed(folder.parent).require(folder.name)
        parts = list_parts(folder)
        self._parts = cover(parts)
        manifest.add(part.path for part in self._parts if not manifest.lists(part.path))
        merged = [part.path for part in set(parts) - set(self._parts)]
        manifest.drop(merged)
        durable.remove_files(merged)

    @property
    def rows(self) -> int:
        """Number of rows on the disk."""
        return self._parts[-1].end if self._parts else 0

    def append(self, rows: Sequence[Row]) -> None:
        """Write one part; durable on return."""
        steps, times, names, scopes, values = zip(*rows, strict=True)
        columns = [
            pa.array(steps, pa.int64()),
            pa.array(times, pa.float64()),
            pa.array(names, pa.string()).dictionary_encode(),
            pa.array(scopes, pa.string()).dictionary_encode(),
            pa.array(values, pa.float64()),
        ]
        self._write(pa.table(columns, schema=METRICS), self.rows)

    def _write(self, table: pa.Table, first: int) -> None:
        part = PartFile(first, first + len(table), part_path(self._folder, first, first + len(table)))
        durable.write_table(part.path, table)
        self._manifest.add([part.path])
        self._parts = [kept for kept in self._parts if kept.end <= first] + [part]

    def merge_small(self) -> None:
        """Merge the small parts at the end into one when there are many."""
        small: list[PartFile] = []
        for part in reversed(self._parts):
            if part.end - part.first >= BIG_PART_ROWS:
                break
            small.insert(0, part)
        if len(small) >= SMALL_PARTS:
            self._write(_read(small, Listed(self._folder.parent)), small[0].first)
            self._manifest.drop(part.path for part in small)
            durable.remove_files(part.path for part in small)

    def cut(self, rows: int) -> None:
        """Keep the first `rows` rows. Killed half-way, it leaves a prefix at least that long.

        Raises StoreError if there are fewer rows.
        """
        if rows > self.rows:
            raise StoreError(f"{self._folder} holds {self.rows} metrics rows, {rows} are asked for: restore its parts")
        later = [part for part in self._parts if part.end > rows]
        self._manifest.drop(part.path for part in later)
        try:
            if later and later[0].first < rows:
                first = later[0].first
                kept = _read(later[:1], Listed(self._folder.parent)).slice(0, rows - first)
                shortened = part_path(self._folder, first, rows)
                durable.write_table(shortened, kept)
                self._manifest.add([shortened])
            durable.remove_files(part.path for part in reversed(later))
        finally:
            self._parts = cover(list_parts(self._folder))
