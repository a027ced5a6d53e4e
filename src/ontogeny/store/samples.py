"""Texts that a model wrote: one Parquet file per (step, measure), so that writing one again replaces it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ontogeny.core.errors import StoreError
from ontogeny.store import durable
from ontogeny.store.schema import SAMPLES

_GIVEN = ("step", "measure", "draw")


def to_table(step: int, measure: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of `SAMPLES`, given without step and measure. Raises TypeError naming a column that is wrong or missing."""
    for row in rows:
        for name in row:
            if name not in SAMPLES.names:
                raise TypeError(f"samples of '{measure}': no column '{name}'; known: {', '.join(SAMPLES.names)}")
        for field in SAMPLES:
            if not field.nullable and field.name not in _GIVEN and row.get(field.name) is None:
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
    durable.remove_files(path for at, path in list_parts(folder) if at > step)
