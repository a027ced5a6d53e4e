from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ontogeny.core.errors import StoreError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.store.probes import StoredProbes, read_probes, write_probes
from tests.store.scenarios import probe_set


def test_a_probe_set_comes_back_as_it_was(tmp_path: Path) -> None:
    given = probe_set()
    write_probes(tmp_path, given)
    read = StoredProbes(tmp_path)["train"]
    assert (read.name, read.about, read.fingerprint) == ("train", "two passages", given.fingerprint)
    assert [p.text for p in read.passages] == ["ab", "é"]
    assert [p.source for p in read.passages] == ["a.txt", "b.txt"]
    assert [p.token_ids.tolist() for p in read.passages] == [[7, 8], [9]]
    assert [p.byte_offsets.tolist() for p in read.passages] == [[0, 1, 2], [0, 2]]
    assert [p.supervised.tolist() for p in read.passages] == [[False, True], [False]]
    assert [p.fingerprint for p in read.passages] == [p.fingerprint for p in given.passages]
    for passage in read.passages:
        assert (passage.token_ids.dtype, passage.byte_offsets.dtype, passage.supervised.dtype) == ("i4", "i4", "?")
        assert passage.token_ids.flags.writeable  # torch warns of arrays that are not


@pytest.mark.parametrize("passages", [[], [("", [])], [("", []), ("a", [1]), ("", [])]])
def test_empty_sets_and_passages(tmp_path: Path, passages: list[tuple[str, list[int]]]) -> None:
    given = ProbeSet(
        name="few",
        passages=[
            Passage(
                text=text,
                token_ids=np.array(ids, np.int32),
                byte_offsets=np.arange(len(ids) + 1, dtype=np.int32),
                source="",
                supervised=np.ones(len(ids), bool),
            )
            for text, ids in passages
        ],
    )
    write_probes(tmp_path, given)
    assert [p.token_ids.tolist() for p in read_probes(tmp_path / "few.parquet").passages] == [
        ids for _, ids in passages
    ]


def test_the_identical_set_again_is_fine_and_another_is_not(tmp_path: Path) -> None:
    write_probes(tmp_path, probe_set())
    written = (tmp_path / "train.parquet").stat().st_mtime_ns
    write_probes(tmp_path, probe_set())
    assert (tmp_path / "train.parquet").stat().st_mtime_ns == written
    with pytest.raises(StoreError, match=r"train\.parquet holds another probe set .* choose another name"):
        write_probes(tmp_path, probe_set(first_id=6))
    write_probes(tmp_path, probe_set("novel", first_id=6))


def test_sets_keep_the_order_in_which_they_were_stored(tmp_path: Path) -> None:
    names = ["train", "novel", "zebra", "general"]
    for name in [*names, "train"]:
        write_probes(tmp_path, probe_set(name))
    assert list(StoredProbes(tmp_path)) == names
    (tmp_path / "novel.parquet").write_bytes(b"PAR1 torn PAR1")
    with pytest.raises(StoreError, match=r"novel\.parquet is damaged"):
        list(StoredProbes(tmp_path))


def test_changed_passages_are_refused(tmp_path: Path) -> None:
    write_probes(tmp_path, probe_set())
    path = tmp_path / "train.parquet"
    table = pq.read_table(path)
    ids = table["token_ids"].to_pylist()
    ids[0][0] += 1
    changed = table.set_column(2, table.schema.field("token_ids"), pa.array(ids, pa.list_(pa.int32())))
    pq.write_table(changed, path)
    with pytest.raises(StoreError, match=r"train\.parquet is damaged: its passages have fingerprint"):
        StoredProbes(tmp_path)["train"]
    pq.write_table(table, path)
    StoredProbes(tmp_path)["train"]  # the same way of writing, unchanged, is accepted


def test_names(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"probe set '\.\./up': use letters"):
        write_probes(tmp_path, probe_set("../up"))
    write_probes(tmp_path, probe_set())
    probes = StoredProbes(tmp_path)
    with pytest.raises(KeyError, match="did you mean 'train'"):
        probes["trian"]
    assert probes.get("trian") is None
    assert len(probes) == 1
    assert len(StoredProbes(tmp_path / "nowhere")) == 0
