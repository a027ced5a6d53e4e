"""Texts that a model generated: one Parquet file per step and measure, so that writing it again replaces it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from ontogeny.core.errors import StoreError
from ontogeny.store import durable
from ontogeny.store.schema import SAMPLES

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


def write_samples(folder: Path, step: int, measure: str, table: pa.Table) -> None:
    """Store the samples of one measure at one state; durable on return."""
    durable.make_folder(folder)
    durable.write_table(folder / f"part-{step:010d}-{measure}.parquet", table)


def list_parts(folder: Path) -> list[tuple[int, Path]]:
    """Step and path of every part, by step, then measure."""
    return sorted((int(path.name.split("-", 2)[1]), path) for path in folder.glob("part-*-*.parquet"))


def read_samples(folder: Path) -> pa.Table:
    """All samples by step, then measure, then in written order. Raises StoreError if a part is damaged."""
    try:
        tables = [durable.read_table(path, SAMPLES) for _, path in list_parts(folder)]
    except FileNotFoundError as error:
        raise StoreError(f"{error.filename} is missing: open the run again") from None
    return pa.concat_tables(tables) if tables else SAMPLES.empty_table()


def rewind(folder: Path, step: int) -> None:
    """Drop the samples of states later than `step`."""
    durable.remove_files(path for part_step, path in list_parts(folder) if part_step > step)
