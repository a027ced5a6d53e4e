from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ontogeny.core.errors import DataError
from ontogeny.data.corpora.text import Text, cut_text


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_several_files_are_a_document_each(tmp_path: Path) -> None:
    for name in "ba":
        write(tmp_path / f"{name}.txt", f"{name} " * 3000)
    found = list(Text(path=f"{tmp_path}/*.txt").documents())
    assert [(d.source, len(d.text)) for d in found] == [("a.txt", 6000), ("b.txt", 6000)]


def test_a_single_file_is_cut_so_that_it_can_be_split(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {i}: " + "word " * 100 + "\n\n" for i in range(40)]
    found = list(Text(path=write(tmp_path / "one.txt", "".join(paragraphs))).documents())
    assert "".join(d.text for d in found) == "".join(paragraphs)
    # 515 characters a paragraph: four are the first to reach 2000.
    assert [d.text.count("Paragraph") for d in found] == [4] * 10
    assert found[1].source == f"one.txt@{len(''.join(paragraphs[:4]))}"


def test_document_chars_cuts_every_file(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.txt", "line of text\n\n" * 100)
    found = list(Text(path=f"{tmp_path}/*.txt", document_chars=140).documents())
    assert [len(d.text) for d in found] == [140] * 20


def test_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    (document,) = Text(path=write(tmp_path / "w.txt", b"\xef\xbb\xbfone\r\n\r\ntwo\rthree")).documents()
    assert document.text == "one\n\ntwo\nthree"


def test_empty_file_gives_nothing(tmp_path: Path) -> None:
    assert [d for d in Text(path=write(tmp_path / "e.txt", "")).documents() if d.text] == []


def test_not_utf8_and_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bad.txt: cannot be read as UTF-8 text \(.*0xff.*\): save it as UTF-8"):
        list(Text(path=write(tmp_path / "bad.txt", b"ab\xff")).documents())
    with pytest.raises(DataError, match=r"gone.txt: no such file"):
        list(Text(path=str(tmp_path / "gone.txt")).documents())


def test_cut_where_no_blank_line_is() -> None:
    assert cut_text("aaa\nbbb\nccc\nddd\n", 4) == ["aaa\n", "bbb\n", "ccc\n", "ddd\n"]  # at lines
    # At sentences, and the one of more than 12 characters at words: a piece ends as soon as it has 6.
    assert cut_text("One. Two. Three four five six.", 6) == ["One. Two. ", "Three ", "four five ", "six."]
    assert cut_text("x" * 25, 10) == ["x" * 20, "x" * 5]  # just there


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text(alphabet="ab \n\t.", max_size=300), size=st.integers(1, 40))
def test_pieces_add_up_and_are_not_long(text: str, size: int) -> None:
    pieces = cut_text(text, size)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 2 * size for piece in pieces)
