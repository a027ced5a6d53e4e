"""Windows over joined documents, worked by hand: a token is a byte, end-of-text is id 0."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.windows import Windows
from ontogeny.data.joined_text import join_documents, passage_spans
from ontogeny.data.passages import cut
from tests.data.conftest import END, documents


def test_windows_by_hand(byte_tokenizer: Any) -> None:
    """abcde|fghij| is 12 tokens with both ends; windows of 6 begin at 0, 3, 6, and the third ends at 12."""
    joined = join_documents(documents("abcde", "fghij"), byte_tokenizer, "c")
    windows, spans = joined.windows(Windows(6, 3))
    assert [window.text for window in windows] == ["abcde", "defgh", "fghij"]
    assert [window.source for window in windows] == ["c:d0#0", "c:d0#3", "c:d1#0"]
    assert [len(window) for window in windows] == [6, 6, 6]
    assert windows[0].token_ids[-1] == windows[1].token_ids[2] == windows[2].token_ids[-1] == END
    assert spans.tolist() == [[0, 5], [3, 8], [5, 10]]
    assert windows[1].byte_offsets.tolist() == [0, 1, 2, 2, 3, 4, 5]
    assert all(window.supervised.all() for window in windows)


def test_less_than_a_step_is_left_out(byte_tokenizer: Any) -> None:
    """13 tokens: windows of 6 with step 4 are 0-6 and 4-10, and the next would end at 14; with step 1, 8 windows."""
    joined = join_documents(documents("abcdefghijkl"), byte_tokenizer, "c")
    assert [window.text for window in joined.windows(Windows(6, 4))[0]] == ["abcdef", "efghij"]
    assert len(joined.windows(Windows(6, 1))[0]) == 8


def test_neighbours_share_all_but_a_step(byte_tokenizer: Any) -> None:
    text = "".join(chr(97 + i % 26) for i in range(300))
    windows, _ = join_documents(documents(text), byte_tokenizer, "c").windows(Windows(64, 16))
    for window, following in pairwise(windows):
        assert np.array_equal(window.token_ids[16:], following.token_ids[:-16])


def test_no_window_begins_inside_a_character_or_grows(byte_tokenizer: Any) -> None:
    """Three bytes each: every edge falls back to a multiple of three, and no window is longer than asked."""
    joined = join_documents(documents("€" * 40), byte_tokenizer, "c")
    windows, _ = joined.windows(Windows(16, 4))
    assert {window.text for window in windows} == {"€" * 5}
    assert max(len(window) for window in windows) == 15


def test_a_text_shorter_than_a_window(byte_tokenizer: Any) -> None:
    joined = join_documents(documents("abc"), byte_tokenizer, "c")
    with pytest.raises(DataError, match="its text has 4 tokens, a window 5: give more text"):
        joined.windows(Windows(5, 1))


@pytest.mark.parametrize("boundary", ["document", "stream"])
def test_spans_of_passages(boundary: str, make_data: Any, byte_tokenizer: Any) -> None:
    """The bytes of a span are the passage's text, even if two documents have the same source."""
    texts = ["abcdefg", "xy", "hijk", "hijk", "€lmnop"]
    given = [Document(text=text, source="same" if text == "hijk" else f"d{i}") for i, text in enumerate(texts)]
    passages = cut(given, byte_tokenizer, make_data(length=4, min_length=3, boundary=boundary), "c")
    content = "".join(texts).encode()
    spans = passage_spans(given, passages, "c")
    assert spans[-1].tolist() == [0, len(content)]
    assert [content[a:b].decode() for a, b in spans[:-1]] == [passage.text for passage in passages]
    assert (np.diff(spans[:-1, 0]) > 0).all()


def test_rows_have_no_running_text(byte_tokenizer: Any) -> None:
    rows = [Document(text="ab", source="r0", completion_spans=((1, 2),))]
    with pytest.raises(DataError, match="corpus 'c' has rows"):
        join_documents(rows, byte_tokenizer, "c")
    with pytest.raises(DataError, match="corpus 'c' has rows"):
        passage_spans(rows, [], "c")
