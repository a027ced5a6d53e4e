"""With the byte tokenizer a token is a byte (with another number) and end-of-text is 0."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.data.passages import cut
from tests.data.conftest import END, documents


def spelled(passage: Passage) -> list[bytes]:
    content = passage.text.encode()
    return [content[a:b] for a, b in pairwise(passage.byte_offsets)]


def row(prompt: str, completion: str, source: str = "row") -> Document:
    text = prompt + completion
    return Document(text=text, source=source, completion_spans=((len(prompt), len(text)),))


def test_document_is_cut_every_length_tokens_and_a_short_rest_dropped(byte_tokenizer: Any, make_data: Any) -> None:
    # 10 bytes in fours: 4, 4, and 2 that are fewer than min_length 3. "xy" as a whole is too short as well.
    passages = cut(documents("abcdefghij", "xy"), byte_tokenizer, make_data(length=4, min_length=3), "c")
    assert [p.text for p in passages] == ["abcd", "efgh"]
    assert [p.source for p in passages] == ["c:d0#0", "c:d0#4"]
    assert all(p.supervised.all() and p.supervised.dtype == bool for p in passages)


def test_a_rest_of_min_length_is_kept(byte_tokenizer: Any, make_data: Any) -> None:
    passages = cut(documents("abcdefghij"), byte_tokenizer, make_data(length=4, min_length=2), "c")
    assert [p.text for p in passages] == ["abcd", "efgh", "ij"]


def test_arrays_have_the_shapes_that_passages_promise(byte_tokenizer: Any, make_data: Any) -> None:
    for passage in cut(documents("abcdefg"), byte_tokenizer, make_data(length=4, min_length=2), "c"):
        n = len(passage.text)
        assert passage.token_ids.shape == passage.supervised.shape == (n,)
        assert passage.byte_offsets.tolist() == list(range(n + 1))
        assert passage.token_ids.dtype == passage.byte_offsets.dtype == np.int32


def test_no_cut_falls_into_a_character(byte_tokenizer: Any, make_data: Any) -> None:
    # a b c é d: 1 1 1 2 1. The fourth byte is the first of é, so the first passage has three tokens.
    passages = cut(documents("abcéd"), byte_tokenizer, make_data(length=4, min_length=2), "c")
    assert [p.text for p in passages] == ["abc", "éd"]
    assert [len(p) for p in passages] == [3, 3]
    assert passages[1].source == "c:d0#3"


def test_a_character_longer_than_a_passage_is_left_out(byte_tokenizer: Any, make_data: Any) -> None:
    # 😀 has 4 bytes, a passage 3 tokens.
    passages = cut(documents("abc😀def"), byte_tokenizer, make_data(length=3, min_length=2), "c")
    assert [p.text for p in passages] == ["abc", "def"]


def test_bytes_of_all_passages_are_the_document(byte_tokenizer: Any, make_data: Any) -> None:
    text = "naïve café\r\n— 日本語 😀😀 end\r\n" * 7
    passages = cut(documents(text), byte_tokenizer, make_data(length=16, min_length=2), "c")
    assert "".join(p.text for p in passages) == text
    assert all(b"".join(spelled(p)) == p.text.encode() for p in passages)


def test_stream_joins_documents_with_the_end_token(byte_tokenizer: Any, make_data: Any) -> None:
    # abc · defgh · in fours: [a b c ·] [d e f g] and [h ·], too short. The end token has no bytes.
    data = make_data(length=4, min_length=3, boundary="stream")
    passages = cut(documents("abc", "defgh"), byte_tokenizer, data, "c")
    assert [p.text for p in passages] == ["abc", "defg"]
    assert passages[0].token_ids[-1] == END
    assert passages[0].byte_offsets.tolist() == [0, 1, 2, 3, 3]
    assert [p.source for p in passages] == ["c:d0#0", "c:d1#0"]


def test_stream_passage_across_documents(byte_tokenizer: Any, make_data: Any) -> None:
    # ab · cdé · (é 2 bytes) in fives: [a b · c d] [é é ·]; the second begins 2 bytes into the second document.
    data = make_data(length=5, min_length=3, boundary="stream")
    first, second = cut(documents("ab", "cdé"), byte_tokenizer, data, "c")
    assert first.text == "abcd"
    assert spelled(first) == [b"a", b"b", b"", b"c", b"d"]
    assert second.text == "é"
    assert second.source == "c:d1#2"
    assert second.token_ids[-1] == END


def test_completion_alone_is_supervised_and_the_end(byte_tokenizer: Any, make_data: Any) -> None:
    # "Q: é" is 5 bytes, " ok" 3, then the end token.
    (passage,) = cut([row("Q: é", " ok")], byte_tokenizer, make_data(length=12), "c")
    assert passage.text == "Q: é ok"
    assert passage.supervised.tolist() == [False] * 5 + [True] * 3 + [True]
    assert passage.token_ids[-1] == END
    assert passage.byte_offsets.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert passage.source == "c:row#0"


def test_a_token_belongs_where_its_first_byte_lies(make_data: Any) -> None:
    from ontogeny.data.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["abab", "abab"], 258)  # knows "ab" as one token
    # a | b: the token "ab" begins in the prompt, so only c and the end are supervised.
    (passage,) = cut([row("a", "bc")], tokenizer, make_data(length=8), "c")
    assert tokenizer.convert_ids_to_tokens(passage.token_ids.tolist()) == ["ab", "c", "<|endoftext|>"]
    assert passage.supervised.tolist() == [False, True, True]


def test_short_rows_stay_and_are_never_joined(byte_tokenizer: Any, make_data: Any) -> None:
    data = make_data(length=32, min_length=16, boundary="stream")
    passages = cut(
        [row("a", "b", "r0"), row("c", "d", "r1"), *documents("plain text of some length")], byte_tokenizer, data, "c"
    )
    assert sorted(p.text for p in passages) == ["ab", "cd", "plain text of some length"]


def test_too_long_a_row_names_itself_and_the_ways_out(byte_tokenizer: Any, make_data: Any) -> None:
    with pytest.raises(DataError, match=r"c:rows.jsonl:7 has 9 tokens, data.length allows 8: raise data.length"):
        cut([row("abcd", "efgh", "rows.jsonl:7")], byte_tokenizer, make_data(length=8), "c")  # 8 bytes and the end
    (passage,) = cut([row("abcd", "efg")], byte_tokenizer, make_data(length=8), "c")
    assert len(passage) == 8


def test_chat_without_template(byte_tokenizer: Any, make_data: Any) -> None:
    chat = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"})
    (passage,) = cut([Document(text="", source="r", messages=chat)], byte_tokenizer, make_data(length=64), "c")
    assert passage.text == "user: hi\nassistant: yo\n"
    # "user: hi\n" 9 and "assistant:" 10 are given; " yo\n" 4 and the end are learned.
    assert passage.supervised.tolist() == [False] * 19 + [True] * 4 + [True]


def test_chat_with_template_adds_no_end_of_its_own(byte_tokenizer: Any, make_data: Any) -> None:
    tokenizer = copy.deepcopy(byte_tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|endoftext|>\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    chat = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"})
    (passage,) = cut([Document(text="", source="r", messages=chat)], tokenizer, make_data(length=64), "c")
    # [user]hi 8, end, newline; [assistant] 11 | yo, end | newline
    assert passage.supervised.tolist() == [False] * (8 + 2 + 11) + [True] * 3 + [False]
    assert passage.token_ids.tolist().count(END) == 2


@pytest.mark.parametrize(
    ("side", "said"),
    [
        (np.zeros(3), r"has shape \[3\]: give \[n, d\]"),
        (np.zeros((0, 3)), r"has shape \[0, 3\]: give \[n, d\]"),
        (np.zeros((1, 2, 3)), r"has shape \[1, 2, 3\]"),
        (np.array([[1.0, np.nan, -np.inf]]), "holds 2 numbers that are NaN or infinite"),
        (np.array([["a", "b"]]), "is not an array of numbers"),
    ],
)
def test_a_side_input_that_is_no_vectors_is_refused_with_its_document(
    byte_tokenizer: Any, make_data: Any, side: Any, said: str
) -> None:
    document = Document(text="some text that is long enough", source="d", sides={"voice": side})
    with pytest.raises(DataError, match=f"c:d: the side input 'voice' {said}"):
        cut([document], byte_tokenizer, make_data(length=8, min_length=4), "c")


def test_a_side_input_of_another_precision_is_kept_in_float32(byte_tokenizer: Any, make_data: Any) -> None:
    document = Document(text="some text that is long enough", source="d", sides={"voice": np.array([[1, 2]])})
    passages = cut([document], byte_tokenizer, make_data(length=8, min_length=4), "c")
    assert all(passage.sides["voice"].dtype == np.float32 for passage in passages)
    assert [passage.sides["voice"].tolist() for passage in passages] == [[[1.0, 2.0]]] * len(passages)
