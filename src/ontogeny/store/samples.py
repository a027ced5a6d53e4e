"""Texts that a model generated: one Parquet file per step and measure, so that writing it again replaces it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from ontogeny.store import durable
from ontogeny.store.manifest import Listed, ManifestWriter, steadily
from ontogeny.store.schema import SAMPLES

_NAME = re.compile(r"part-(\d+)-.+\.parquet")
_FILLED_IN = ("step", "measure", "draw")
"""Columns that a row need not give."""


def to_table(step: int, measure: str, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    """A table of `SAMPLES` from rows without step and measure. Raises TypeError naming a wrong or missing column."""
    for row in rows:
        for name in row:
            if name not in SAMPLES.names:
                raise TypeError(f"samples of '{measure}': no column '{name}'; known: {', '.join(SAMPLES.names)}")
        for field in SAMPLES:
            if not field.nullable and field.name not in _FILLED_IN and row.get(field.name) is None:
                raise TypeError(f"samples of '{measure}': a row lacks '{field.name}'")
    return pa.Table.from_pylist([{"draw": 0, **row, "step": step, "measure": measure} for row in rows], schema=SAMPLES)


def write_samples(folder: Path, step: int, measure: str, table: pa.Table, manifest: ManifestWriter) -> None:
    """Store the samples of one measure at one state, in the place of earlier ones; durable on return."""
    path = folder / f"part-{step:010d}-{measure}.parquet"
    durable.make_folder(folder)
    manifest.drop([path])
    durable.write_table(path, table)
    manifest.add([path])


def list_parts(folder: Path) -> list[tuple[int, Path]]:
    """Step and path of every part, by step, then measure."""
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.glob("part-*-*.parquet"))
    return sorted((int(match[1]), path) for match, path in matches if match)


def read_samples(folder: Path) -> pa.Table:
    """All samples by step, then measure, then in written order. Raises StoreError if a part is damaged or missing."""

    def read() -> pa.Table:
        listed = Listed(folder.parent)
        listed.require(folder.name)
        tables = [durable.parse_table(path, listed.read(path), SAMPLES) for _, path in list_parts(folder)]
        return pa.concat_tables(tables) if tables else SAMPLES.empty_table()

    return steadily(read)


def rewind(folder: Path, step: int, manifest: ManifestWriter) -> None:
    """Drop the samples of states later than `step`."""
    later = [path for part_step, path in list_parts(folder) if part_step > step]
    manifest.drop(later)
    durable.remove_files(later)
