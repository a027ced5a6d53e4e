"""Export what a run recorded: as CSV, Parquet or NumPy files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ontogeny.core.errors import StoreError, closest
from ontogeny.core.printable import cell
from ontogeny.store import durable, schema
from ontogeny.store.run import Run

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def export(run: Run, to: str | Path, format: str) -> list[Path]:
    """Write a run's metrics, samples and arrays into the directory `to`, replacing files of the same names.

    Formats: ``csv`` and ``parquet`` give long tables (``metrics``, ``summary``, ``samples``, and one per measure and
    its axes, such as ``token_nll.token``); ``npz`` gives one file of arrays per measure, and ``metrics``. Returns the
    files. Raises StoreError for another format, RunFailedError if the disk is full.
    """
    if format not in FORMATS:
        raise StoreError(f"no export format '{format}': {closest(format, FORMATS)}")
    folder = Path(to)
    durable.make_folder(folder)
    return FORMATS[format](run, folder)


def _to_csv(run: Run, folder: Path) -> list[Path]:
    return [_write_csv(folder / f"{name}.csv", frames) for name, frames in _tables(run)]


def _write_csv(path: Path, frames: "Iterator[pd.DataFrame]") -> Path:
    with durable.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        for number, frame in enumerate(frames):
            text = {name: "" for name, dtype in frame.dtypes.items() if dtype.kind == "O"}
            whole = with_plain_text(frame.fillna(text))
            whole.to_csv(file, index=False, header=number == 0, na_rep="NaN")
    return path


def with_plain_text(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table with column names and text in which a spreadsheet sees no formula (`core.printable.cell`)."""
    plain = frame.copy(deep=False)
    for name, dtype in frame.dtypes.items():
        if dtype.kind == "O":
            plain[name] = frame[name].map(lambda value: cell(value) if isinstance(value, str) else value)
    return plain.rename(columns=lambda name: cell(str(name)))


def _to_parquet(run: Run, folder: Path) -> list[Path]:
    return [_write_parquet(folder / f"{name}.parquet", frames) for name, frames in _tables(run)]


def _write_parquet(path: Path, frames: "Iterator[pd.DataFrame]") -> Path:
    first = _to_table(next(frames))
    with durable.replacing(path) as temporary, pq.ParquetWriter(temporary, first.schema, compression="zstd") as file:
        file.write_table(first)
        for frame in frames:
            file.write_table(_to_table(frame))
    return path


def _to_table(frame: "pd.DataFrame") -> pa.Table:
    """The frame as a table in which NaN is a number, and only text can be null."""
    columns = {
        str(name): pa.array(column, pa.string()) if column.dtype.kind == "O" else pa.array(column.to_numpy())
        for name, column in frame.items()
    }
    return pa.table(columns)


def _to_npz(run: Run, folder: Path) -> list[Path]:
    paths = [folder / "metrics.npz", *(folder / f"{group}.npz" for group in run.measures)]
    metrics = run.metrics
    _write_npz(paths[0], {name: _without_objects(metrics[name].to_numpy()) for name in metrics.columns})
    for path, group in zip(paths[1:], run.measures, strict=True):
        dataset = run.measure(group)
        _write_npz(path, {str(name): _without_objects(variable.values) for name, variable in dataset.variables.items()})
    return paths


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with durable.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _without_objects(values: np.ndarray) -> np.ndarray:
    """Values with text of fixed width: object arrays would have to be pickled."""
    return values.astype(object).astype(str) if values.dtype.kind in "OT" else values


def _tables(run: Run) -> "Iterator[tuple[str, Iterator[pd.DataFrame]]]":
    yield "metrics", iter([run.metrics])
    yield "summary", iter([run.summary()])
    yield "samples", iter([run.samples])
    for group in run.measures:
        dataset = run.measure(group)
        axes = dict.fromkeys(array.dims[1:] for array in dataset.data_vars.values())
        for dims in axes:
            names = [name for name, array in dataset.data_vars.items() if array.dims[1:] == dims]
            yield ".".join([group, *map(str, dims)]), _by_checkpoint(dataset[names])


def _by_checkpoint(dataset: "xr.Dataset") -> "Iterator[pd.DataFrame]":
    """One frame per model state, so that a long trajectory is never in memory as a whole."""
    for number in range(dataset.sizes["checkpoint"]):
        frame = dataset.isel(checkpoint=[number]).to_dataframe().reset_index()
        places = list(schema.CHECKPOINT_COORDINATES)
        yield frame[[*places, *frame.columns.drop(["checkpoint", *places])]]


FORMATS: dict[str, Callable[[Run, Path], list[Path]]] = {"csv": _to_csv, "npz": _to_npz, "parquet": _to_parquet}
