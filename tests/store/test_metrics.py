import math
from pathlib import Path

import pyarrow as pa
import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store import metrics
from ontogeny.store.manifest import ManifestWriter
from ontogeny.store.metrics import MetricsWriter, PartFile, cover
from ontogeny.store.schema import METRICS
from tests.store import scenarios


def opened(folder: Path) -> MetricsWriter:
    return MetricsWriter(folder, ManifestWriter(folder))


def rows(*steps: int) -> list[metrics.Row]:
    return [(step, 100.0 + step, "loss", "train", step / 2) for step in steps]


def steps_in(folder: Path) -> list[int]:
    return metrics.read_rows(folder)["step"].to_pylist()


def part(first: int, end: int) -> PartFile:
    return PartFile(first, end, Path(f"metrics/part-{first}-{end}.parquet"))


def test_values_come_back_bit_for_bit(tmp_path: Path) -> None:
    values = [float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 0.1]
    writer = opened(tmp_path)
    writer.append([(i, 0.25, f"n{i % 2}", "tr/ain é", value) for i, value in enumerate(values)])
    frame = metrics.to_frame(metrics.read_rows(tmp_path))
    assert list(frame.columns) == ["step", "time_unix_s", "name", "scope", "value"]
    assert [value.hex() for value in frame["value"]] == [value.hex() for value in values]
    assert math.isnan(frame["value"][0])
    assert frame["name"].tolist() == ["n0", "n1"] * 3
    assert set(frame["scope"]) == {"tr/ain é"}
    assert metrics.read_rows(tmp_path).schema.equals(METRICS)  # dictionary-encoded on the disk


def test_the_longest_part_that_starts_at_the_next_row_is_taken() -> None:
    # 0-4 was merged with 4-6 and 6-9 into 0-9, the small ones are left over; 9-10 came later
    parts = [part(0, 9), part(0, 4), part(4, 6), part(6, 9), part(9, 10)]
    assert cover(parts) == [part(0, 9), part(9, 10)]
    assert cover(parts[1:]) == parts[1:]
    assert cover([]) == []
    with pytest.raises(StoreError, match="metrics rows 4 to 5 are missing"):
        cover([part(0, 4), part(6, 9)])


def test_small_parts_are_merged_and_big_ones_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SMALL_PARTS", 3)
    monkeypatch.setattr(metrics, "BIG_PART_ROWS", 5)
    writer = opened(tmp_path)
    for first in range(0, 14, 2):
        writer.append(rows(first, first + 1))
        writer.merge_small()
    # 2+2+2 rows make a part of 6, which is big; again 6; then one of 2
    assert [(p.first, p.end) for p in metrics.list_parts(tmp_path)] == [(0, 6), (6, 12), (12, 14)]
    assert steps_in(tmp_path) == list(range(14))
    assert writer.rows == 14


def test_leftovers_are_removed_on_attach(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.append(rows(0, 1))
    writer.append(rows(2))
    kept = metrics.part_path(tmp_path, 0, 3)
    metrics.durable.write_table(kept, metrics.read_rows(tmp_path))  # merged, and killed before removing the small ones
    (tmp_path / ".part-0-1.parquet.77.tmp").write_bytes(b"torn")
    assert steps_in(tmp_path) == [0, 1, 2]
    assert opened(tmp_path).rows == 3
    assert list(tmp_path.iterdir()) == [kept]


@pytest.mark.parametrize("count", range(8))
def test_a_cut_is_exact(tmp_path: Path, count: int) -> None:
    writer = opened(tmp_path)
    writer.append(rows(0, 1, 2))
    writer.append(rows(3, 4))
    writer.append(rows(5, 6))
    writer.cut(count)
    assert steps_in(tmp_path) == list(range(count))
    assert writer.rows == count
    writer.append(rows(90))
    assert steps_in(tmp_path) == [*range(count), 90]
    assert opened(tmp_path).rows == count + 1


def test_a_cut_beyond_the_end_is_refused(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.append(rows(0))
    with pytest.raises(StoreError, match="holds 1 metrics rows, 2 are asked for"):
        writer.cut(2)


def test_reading_while_a_merge_removes_what_was_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = opened(tmp_path)
    writer.append(rows(0, 1))
    stale = [[part(0, 1), part(1, 2)], [part(0, 1), part(5, 6)]]  # gone; or listed in the middle of the merge
    real = metrics.list_parts
    monkeypatch.setattr(metrics, "list_parts", lambda folder: stale.pop() if stale else real(folder))
    assert steps_in(tmp_path) == [0, 1]
    assert not stale


def test_damage_is_named(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.append(rows(*range(1000)))
    path = metrics.list_parts(tmp_path)[0].path
    intact = path.read_bytes()
    middle = intact.find(b"\x28\xb5\x2f\xfd") + 12  # inside the first zstd frame
    path.write_bytes(intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :])
    with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
        metrics.read_rows(tmp_path)
    path.write_bytes(intact[: len(intact) // 2])
    with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
        metrics.read_rows(tmp_path)
    path.write_bytes(intact)
    path.rename(metrics.part_path(tmp_path, 0, 999))
    with pytest.raises(StoreError, match="holds 1000 rows, not the 999 of its name"):
        metrics.read_rows(tmp_path)


def test_a_foreign_table_is_refused(tmp_path: Path) -> None:
    metrics.durable.write_table(metrics.part_path(tmp_path, 0, 1), pa.table({"a": [1]}))
    with pytest.raises(StoreError, match="holds other columns than a run's: a"):
        metrics.read_rows(tmp_path)


def test_rows_are_flushed_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("ontogeny.store.writer.time.monotonic", lambda: now[0])
    with scenarios.create(tmp_path / "run") as writer:
        writer.add_metric(0, "loss", "train", 1.0)
        now[0] += 4.9
        writer.add_metric(1, "loss", "train", 1.0)
        assert writer.metrics_rows == 0
        now[0] += 0.2  # 5.1 s after the start
        writer.add_metric(2, "loss", "train", 1.0)
        assert writer.metrics_rows == 3
        writer.add_metric(3, "loss", "train", 1.0)
        assert writer.metrics_rows == 3
    assert writer.run.metrics["step"].tolist() == [0, 1, 2, 3]  # the rest came with close
