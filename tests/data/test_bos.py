"""What stands before a text: decided in one place, as the tokenizer would add it."""

from typing import Any

import numpy as np
import pytest

from ontogeny.core.errors import DataError
from ontogeny.data.bos import FROM_SCRATCH, Bos, decide, recorded
from ontogeny.data.passages import cut
from tests.bos import with_bos, with_two_tokens
from tests.data.conftest import documents


@pytest.fixture(scope="module")
def llama_like(byte_tokenizer: Any) -> Any:
    return with_bos(byte_tokenizer)


def test_a_pretrained_model_has_what_its_tokenizer_adds(llama_like: Any, byte_tokenizer: Any) -> None:
    bos = decide(None, llama_like, "pretrained")
    assert list(bos.with_ids(np.array([70, 71], dtype=np.int32))) == [257, 70, 71]
    assert llama_like("ab").input_ids == bos.with_ids(np.array(byte_tokenizer("ab").input_ids)).tolist()
    assert bos.described(llama_like) == {"token_ids": [257], "tokens": ["<s>"], "why": "the model's tokenizer adds it"}
    assert recorded({"bos": bos.described(llama_like)}) == bos
    assert decide(None, byte_tokenizer, "pretrained").token_ids == ()


def test_two_tokens_are_added_by_some() -> None:
    assert decide(None, with_two_tokens(), "pretrained").token_ids == (257, 258)


def test_a_model_from_scratch_has_none_and_a_child_what_its_parent_had(llama_like: Any) -> None:
    assert decide(None, llama_like, FROM_SCRATCH).token_ids == ()
    assert decide(None, llama_like, recorded({})).token_ids == ()  # the parent was made before this was recorded
    assert decide(None, llama_like, Bos(token_ids=(5,), why="x")).token_ids == (5,)


def test_a_recipe_may_say_otherwise(llama_like: Any, byte_tokenizer: Any) -> None:
    assert decide(False, llama_like, "pretrained").token_ids == ()
    assert decide(True, llama_like, FROM_SCRATCH).token_ids == (257,)
    assert decide(True, byte_tokenizer, FROM_SCRATCH).token_ids == (0,)  # it adds none, but has one
    byte_tokenizer.bos_token = None
    try:
        with pytest.raises(DataError, match=r"data\.bos is true, and the tokenizer has no BOS token"):
            decide(True, byte_tokenizer, FROM_SCRATCH)
    finally:
        byte_tokenizer.bos_token = "<|endoftext|>"


def test_passages_begin_with_it_and_their_text_is_whole(llama_like: Any, make_data: Any) -> None:
    """Ten bytes at length 4: three of text in each passage, and one left; without BOS four, four, two."""
    data = make_data(length=4, min_length=2)
    bos = decide(None, llama_like, "pretrained")
    passages = cut(documents("abcdefghij"), llama_like, data, "c", bos)
    assert [p.text for p in passages] == ["abc", "def", "ghi", "j"]  # BOS and one byte are two tokens: long enough
    first = passages[0]
    assert (first.bos_tokens, first.first_predicted, int(first.token_ids[0]), len(first)) == (1, 1, 257, 4)
    assert first.byte_offsets.tolist() == [0, 0, 1, 2, 3]
    assert first.supervised.tolist() == [False, True, True, True]
    assert [p.source for p in passages] == ["c:d0#0", "c:d0#3", "c:d0#6", "c:d0#9"]
    assert [p.text for p in cut(documents("abcdefghij"), llama_like, data, "c")] == ["abcd", "efgh", "ij"]


def test_it_is_not_put_where_it_stands(llama_like: Any, make_data: Any) -> None:
    bos = decide(None, llama_like, "pretrained")
    (passage,) = cut(documents("<s>ab"), llama_like, make_data(length=8), "c", bos)
    assert passage.token_ids.tolist()[0] == 257
    assert (len(passage), passage.bos_tokens) == (3, 0)


def test_it_needs_room(llama_like: Any, make_data: Any) -> None:
    two = Bos(token_ids=(257, 258), why="x")
    with pytest.raises(DataError, match=r"data\.length is 2, of which 2 stand before the text"):
        cut(documents("abc"), llama_like, make_data(length=2), "c", two)
