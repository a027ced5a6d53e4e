from pathlib import Path

import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.files import find_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "deep/c.txt", "other.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def names(*paths: str) -> list[str]:
    return [name for name, _ in find_files(paths)]


def test_one_file_has_its_own_name(folder: Path) -> None:
    assert find_files(f"{folder}/deep/c.txt") == [("c.txt", folder / "deep/c.txt")]


def test_a_pattern_is_alphabetical_and_a_list_keeps_its_order(folder: Path) -> None:
    assert names(f"{folder}/*.txt") == ["a.txt", "b.txt"]
    assert names(f"{folder}/**/*.txt") == ["a.txt", "b.txt", "deep/c.txt"]
    assert names(f"{folder}/other.md", f"{folder}/deep/c.txt") == ["other.md", "deep/c.txt"]


def test_each_file_once(folder: Path) -> None:
    assert names(f"{folder}/b.txt", f"{folder}/*.txt") == ["b.txt", "a.txt"]


def test_a_name_that_looks_like_a_pattern(folder: Path) -> None:
    (folder / "x[1].txt").write_text("x")
    assert names(f"{folder}/x[1].txt") == ["x[1].txt"]


def test_repeated_stars_mean_one_pair_and_end(folder: Path) -> None:
    """Each `**/` anew would multiply the matches: of a path 8 folders deep, 30 of them give C(38, 8), 49 million."""
    deep = folder.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "far.txt").write_text("x")
    assert names(f"{folder}/{'**/' * 30}far.txt") == ["far.txt"]


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b"])
def test_what_can_be_no_path(path: str) -> None:
    with pytest.raises(DataError, match="no such file, and no file matches it as a pattern"):
        find_files(path)


def test_errors(folder: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.txt: no such file, and no file matches it as a pattern"):
        find_files(f"{folder}/nothing.txt")
    with pytest.raises(DataError, match=r"deep is a directory: name files, for instance .*deep/\*\.txt"):
        find_files(f"{folder}/deep")
    with pytest.raises(DataError, match="path is empty"):
        find_files(())
