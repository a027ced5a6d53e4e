"""Shards of cached targets: read as they were written, refused if anything about them is not so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.cached_targets import TargetForm
from ontogeny.core.errors import StoreError
from ontogeny.core.passages import Passage
from ontogeny.store.cached_targets import PASSAGES, ROWS, TargetShard, TargetsKey, target_tokens, writing_shard

FORM = TargetForm(top_k=2, temperatures=(1.0,), vocabulary=300)
KEY = TargetsKey(teacher_sha256="t", config_sha256="c", tokenizer_sha256="k", passages_sha256="p", form=FORM)


def passage(*ids: int, supervised: tuple[int, ...] | None = None) -> Passage:
    counted = [supervised is None or i in supervised for i in range(len(ids))]
    offsets = np.zeros(len(ids) + 1, dtype=np.int32)
    return Passage(
        text="",
        token_ids=np.array(ids, dtype=np.int32),
        byte_offsets=offsets,
        source=f"by hand:{ids[0]}",
        supervised=np.array(counted),
    )


FIRST, SECOND, PROMPTED = passage(1, 2, 3), passage(4, 5), passage(1, 2, 3, supervised=(0, 2))
ALL = [FIRST, SECOND, PROMPTED]


def rows(count: int, start: int) -> np.ndarray:
    made = np.zeros(count, dtype=FORM.row)
    made["ids"] = np.arange(start, start + 2 * count).reshape(count, 2)
    return made


def write(folder: Path, key: TargetsKey = KEY) -> TargetShard:
    """Rows 2, 1 and 1 of the three passages, whose first ids are 0, 2; 4; 6."""
    with writing_shard(key.folder(folder), key) as writer:
        writer.add([FIRST, SECOND], rows(3, 0))
        writer.add([PROMPTED], rows(1, 6))
    return TargetShard(key.folder(folder), key)


def test_targets_are_tokens_behind_the_first_that_count() -> None:
    assert [target_tokens(each) for each in ALL] == [2, 1, 1]


def test_rows_are_found_by_passage(tmp_path: Path) -> None:
    """The same tokens with other supervision are another passage; the same again is the same."""
    shard = write(tmp_path)
    assert shard.rows == 4
    assert shard.rows_of([PROMPTED, FIRST])["ids"][:, 0].tolist() == [6, 0, 2]
    assert shard.rows_of([passage(4, 5), SECOND])["ids"][:, 0].tolist() == [4, 4]
    with pytest.raises(StoreError, match="holds no targets of passage by hand:9"):
        shard.rows_of([FIRST, passage(9, 9)])


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, teacher_sha256="u"),
        replace(KEY, config_sha256="u"),
        replace(KEY, tokenizer_sha256="l"),
        replace(KEY, passages_sha256="q"),
        replace(KEY, form=replace(FORM, vocabulary=301)),
        replace(KEY, form=replace(FORM, temperatures=(2.0,))),
        replace(KEY, form=TargetForm(samples=2, seed=0, temperatures=(1.0,), vocabulary=300)),
        replace(KEY, form=TargetForm(samples=2, seed=1, temperatures=(1.0,), vocabulary=300)),
    ],
)
def test_anything_else_lies_elsewhere_and_is_refused_here(other: TargetsKey, tmp_path: Path) -> None:
    write(tmp_path)
    assert other.folder(tmp_path) != KEY.folder(tmp_path)
    other.folder(tmp_path).parent.mkdir(exist_ok=True)
    KEY.folder(tmp_path).rename(other.folder(tmp_path))
    with pytest.raises(StoreError, match=r"of another teacher, text or form; remove .*, and it is filled again"):
        TargetShard(other.folder(tmp_path), other)


@pytest.mark.parametrize("name", [ROWS, PASSAGES, "targets.json", "MANIFEST.json"])
@pytest.mark.parametrize("how", ["changed", "cut", "lost"])
def test_damage_is_told_in_one_line(name: str, how: str, tmp_path: Path) -> None:
    folder = write(tmp_path).folder
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes(bytes(data) if how == "changed" else path.read_bytes()[: len(data) // 2])
    with pytest.raises(StoreError, match=r"; remove .*, and it is filled again") as error:
        TargetShard(folder, KEY)
    assert len(str(error.value).splitlines()) == 1


def test_what_a_writer_did_not_finish_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="1 rows for passages of 2"),
        writing_shard(KEY.folder(tmp_path), KEY) as writer,
    ):
        writer.add([FIRST], rows(1, 0))
    assert list(KEY.folder(tmp_path).parent.iterdir()) == []
    assert write(tmp_path).rows == 4


def test_what_a_killed_writer_left_is_not_read(tmp_path: Path) -> None:
    """Its files lie under a hidden name, which the next writer clears."""
    folder = KEY.folder(tmp_path)
    left = folder.with_name(f".{folder.name}.tmp")
    left.mkdir(parents=True)
    (left / ROWS).write_bytes(b"half of it, or more than there will be" * 9)
    (left / "more").write_bytes(b"")
    assert write(tmp_path).rows == 4
    assert sorted(path.name for path in folder.iterdir()) == ["MANIFEST.json", PASSAGES, ROWS, "targets.json"]
    assert not left.exists()


def test_rows_that_change_while_they_are_read_are_told(tmp_path: Path) -> None:
    """An id that is none, and a file that is cut: neither ends the process, nor is trained on."""
    shard = write(tmp_path)
    file = shard.folder / ROWS
    whole = file.read_bytes()
    file.write_bytes(b"\xff" * len(whole))
    with pytest.raises(StoreError, match=r"rows.bin was changed while it is read: remove"):
        shard.rows_of([FIRST])
    file.write_bytes(whole[:10])
    with pytest.raises(StoreError, match=r"rows.bin was cut while it is read: remove"):
        shard.rows_of([SECOND])


def test_a_link_in_the_place_of_the_hidden_folder_is_not_followed(tmp_path: Path) -> None:
    folder = KEY.folder(tmp_path / "runs")
    folder.parent.mkdir(parents=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / ROWS).write_bytes(b"mine")
    folder.with_name(f".{folder.name}.tmp").symlink_to(tmp_path / "theirs")
    write(tmp_path / "runs")
    assert (tmp_path / "theirs" / ROWS).read_bytes() == b"mine"
