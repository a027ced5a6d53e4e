"""Windows over joined documents, worked by hand: a token is a byte, end-of-text is id 0."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ontogeny.core.contracts import Document
from ontogeny.core.errors import DataError
from ontogeny.core.windows import Windows
from ontogeny.data.joined_text import spans_of, stream_of
from ontogeny.data.passages import cut
from tests.data.conftest import END, documents


def test_windows_by_hand(byte_tokenizer: Any) -> None:
    """abcde|fghij| is 12 tokens with the ends; windows of 6, 3 apart, begin at 0, 3, 6: the third ends at 12."""
    stream = stream_of(documents("abcde", "fghij"), byte_tokenizer, "c")
    found, covered = stream.windows(Windows(6, 3))
    assert [one.text for one in found] == ["abcde", "defgh", "fghij"]
    assert [one.source for one in found] == ["c:d0#0", "c:d0#3", "c:d1#0"]
    assert [len(one) for one in found] == [6, 6, 6]
    assert found[0].token_ids[-1] == found[1].token_ids[2] == found[2].token_ids[-1] == END
    assert covered.tolist() == [[0, 5], [3, 8], [5, 10]]
    assert found[1].byte_offsets.tolist() == [0, 1, 2, 2, 3, 4, 5]
    assert all(one.supervised.all() for one in found)


def test_less_than_a_step_is_left_out(byte_tokenizer: Any) -> None:
    """13 tokens, windows of 6, 4 apart: 0-6 and 4-10; the next would end at 14. One apart: 8 windows."""
    stream = stream_of(documents("abcdefghijkl"), byte_tokenizer, "c")
    assert [one.text for one in stream.windows(Windows(6, 4))[0]] == ["abcdef", "efghij"]
    assert len(stream.windows(Windows(6, 1))[0]) == 8


def test_neighbours_share_all_but_a_step(byte_tokenizer: Any) -> None:
    text = "".join(chr(97 + i % 26) for i in range(300))
    found, _ = stream_of(documents(text), byte_tokenizer, "c").windows(Windows(64, 16))
    for one, other in pairwise(found):
        assert np.array_equal(one.token_ids[16:], other.token_ids[:-16])


def test_no_window_begins_inside_a_character_or_grows(byte_tokenizer: Any) -> None:
    """Three bytes each: every edge falls back to a multiple of three, and no window is longer than asked."""
    stream = stream_of(documents("€" * 40), byte_tokenizer, "c")
    found, _ = stream.windows(Windows(16, 4))
    assert {one.text for one in found} == {"€" * 5}
    assert max(len(one) for one in found) == 15


def test_a_text_shorter_than_a_window(byte_tokenizer: Any) -> None:
    stream = stream_of(documents("abc"), byte_tokenizer, "c")
    with pytest.raises(DataError, match="its text has 4 tokens, a window 5: give more text"):
        stream.windows(Windows(5, 1))


@pytest.mark.parametrize("boundary", ["document", "stream"])
def test_where_passages_stand(boundary: str, make_data: Any, byte_tokenizer: Any) -> None:
    """The bytes of a span are the passage's text, also where documents have one source twice."""
    texts = ["abcdefg", "xy", "hijk", "hijk", "€lmnop"]
    given = [Document(text=text, source="same" if text == "hijk" else f"d{i}") for i, text in enumerate(texts)]
    passages = cut(given, byte_tokenizer, make_data(length=4, min_length=3, boundary=boundary), "c")
    content = "".join(texts).encode()
    spans = spans_of(given, passages, "c")
    assert spans[-1].tolist() == [0, len(content)]
    assert [content[a:b].decode() for a, b in spans[:-1]] == [one.text for one in passages]
    assert (np.diff(spans[:-1, 0]) > 0).all()


def test_rows_have_no_running_text(byte_tokenizer: Any) -> None:
    rows = [Document(text="ab", source="r0", completion_spans=((1, 2),))]
    with pytest.raises(DataError, match="corpus 'c' has rows"):
        stream_of(rows, byte_tokenizer, "c")
    with pytest.raises(DataError, match="corpus 'c' has rows"):
        spans_of(rows, [], "c")
