from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.corpora.parquet import Parquet

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]


def test_rows_of_every_shape(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "é"], "n": [1, 2]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"messages": [CHAT]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"prompt": ["q"], "completion": ["a"]}), tmp_path / "c.parquet")
    found = list(Parquet(path=f"{tmp_path}/*.parquet").documents())
    assert [d.text for d in found] == ["a", "é", "", "qa"]
    assert [d.source for d in found] == ["a.parquet:0", "a.parquet:1", "b.parquet:0", "c.parquet:0"]
    assert found[2].messages == tuple(CHAT)
    assert found[3].completion_spans == ((1, 2),)


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet, row 1: the row has none of text"):
        list(Parquet(path=str(tmp_path / "a.parquet")).documents())


def test_not_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("hello, this is no parquet at all")
    with pytest.raises(DataError, match=r"a.parquet: not a Parquet file"):
        list(Parquet(path=str(tmp_path / "a.parquet")).documents())
