"""A file, its text and its JSON, whole or damaged."""

from pathlib import Path

import pytest

from ontogeny.core.errors import DataError
from ontogeny.integrations.importers import _source
from ontogeny.integrations.importers._source import NotReadableError, Source


def source(folder: Path, content: bytes) -> Source:
    path = folder / "file"
    path.write_bytes(content)
    return Source(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_by_their_bytes(tmp_path: Path, encoding: str) -> None:
    assert "loss: 3.5" in source(tmp_path, "loss: 3.5 and text\n".encode(encoding)).text


def test_bytes_that_are_no_text_are_counted(tmp_path: Path) -> None:
    found = source(tmp_path, b"loss \xff\xfe 3.5\n" * 2)
    assert "loss" in found.text
    assert found.partial
    assert found.notes == ["4 bytes are not valid utf-8"]


def test_repaints_and_colours(tmp_path: Path) -> None:
    found = source(tmp_path, b"\x1b[32mone\x1b[0m\rtwo\n\nthree\n")
    assert list(found.lines()) == [(1, "one"), (1, "two"), (3, "three")]


def test_a_huge_line_is_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_source, "LONGEST_LINE", 10)
    found = source(tmp_path, b"x" * 25 + b"\nshort\n")
    assert [len(line) for _, line in found.lines()] == [10, 5]
    assert "line 1 has 25 characters" in found.notes[0]


def test_a_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_source, "MOST_BYTES", 10)
    with pytest.raises(NotReadableError, match="give only the log"):
        source(tmp_path, b"x" * 11)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [{"b": 1}, {"b": 2}]}', {"a": [{"b": 1}, {"b": 2}]}),
        ('{"a": [{"b": 1}, {"b": 2', {"a": [{"b": 1}]}),
        ('[{"b": "}"}, {"b": "{', [{"b": "}"}]),
        ("plain text", None),
    ],
)
def test_json_whole_or_cut(tmp_path: Path, text: str, expected: object) -> None:
    found = source(tmp_path, text.encode())
    assert found.json == expected
    assert found.partial == (expected is not None and not text.endswith("}"))


def test_deep_json_is_no_crash(tmp_path: Path) -> None:
    found = source(tmp_path, b"[" * 100_000)
    assert found.json is None


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        Source(tmp_path / "nowhere")
