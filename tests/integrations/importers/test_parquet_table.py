"""Parquet."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.integrations.importers.reading import points, read


def parquet(folder: Path, **columns: list) -> bytes:
    path = folder / "written.parquet"
    pq.write_table(pa.table(columns), path)
    return path.read_bytes()


def test_nulls_are_no_values(tmp_path: Path) -> None:
    content = parquet(tmp_path, _step=[0, 1, 2], loss=[3.5, None, 2.5], note=["a", "b", "c"])
    history = read(tmp_path, content)
    assert history.form == "Parquet table"
    assert points(history, "loss") == [(0, 3.5), (2, 2.5)]


def test_a_cut_file_is_said_to_be_one(tmp_path: Path) -> None:
    content = parquet(tmp_path, step=list(range(100)), loss=[1.0] * 100)
    history = read(tmp_path, content[: len(content) // 2])
    assert history.partial
    assert "damaged or truncated" in history.nothing
