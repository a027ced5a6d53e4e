import copy
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ontogeny.core.errors import DataError
from ontogeny.data.tokenizer import (
    byte_symbols,
    encode,
    encode_batch,
    end_of_text_id,
    load_tokenizer,
    looks_local,
    train_tokenizer,
)

TEXTS = ["the cat sat on the mat, the café — naïve 😀\n", "def f(x):\n    return x + 1\n"] * 3


@pytest.fixture(scope="module")
def merged() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, 300)


def wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_alphabet_is_that_of_the_library() -> None:
    assert set(byte_symbols()) == set(pre_tokenizers.ByteLevel.alphabet())
    # GPT-2 writes a space as Ġ (U+0120 = 256 + 32) and a newline as Ċ (U+010A = 256 + 10).
    assert byte_symbols()["Ġ"] == 32
    assert byte_symbols()["Ċ"] == 10


def test_special_token_is_bos_eos_and_pad_and_never_added(merged: Any) -> None:
    assert merged.bos_token_id == merged.eos_token_id == merged.pad_token_id == end_of_text_id(merged) == 0
    assert 0 not in merged("the cat")["input_ids"]
    assert 0 not in encode(merged, "the cat")[0]
    assert merged("the cat")["input_ids"] == encode(merged, "the cat")[0].tolist()


def test_vocabulary_has_the_size_asked_for_if_the_text_offers_it(merged: Any, byte_tokenizer: Any) -> None:
    assert len(merged) == 300
    assert len(byte_tokenizer) == 257  # an empty text offers no merge: 256 bytes and end-of-text


def test_the_commonest_pair_is_merged_first() -> None:
    # "abab" twice: the pair (a, b) occurs 4 times, every other one at most twice.
    tokenizer = train_tokenizer(["abab", "abab"], 258)
    ids, offsets = encode(tokenizer, "abc")
    assert tokenizer.convert_ids_to_tokens(ids.tolist()) == ["ab", "c"]
    assert offsets.tolist() == [0, 2, 3]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(text=st.text(max_size=60))
def test_byte_slices_are_the_tokens_and_together_the_text(text: str) -> None:
    tokenizer = _cached()
    ids, offsets = encode(tokenizer, text)
    assert ids.dtype == offsets.dtype == np.int32
    assert len(offsets) == len(ids) + 1
    content = text.encode()
    slices = [content[a:b] for a, b in pairwise(offsets)]
    assert b"".join(slices) == content
    alphabet = byte_symbols()
    for i, piece in zip(ids.tolist(), slices, strict=True):
        token = tokenizer.convert_ids_to_tokens(i)
        assert piece == bytes(alphabet[symbol] for symbol in token)


_TRAINED: list[PreTrainedTokenizerFast] = []


def _cached() -> PreTrainedTokenizerFast:
    if not _TRAINED:
        _TRAINED.append(train_tokenizer(TEXTS, 300))
    return _TRAINED[0]


def test_a_character_split_over_tokens_has_true_byte_boundaries(byte_tokenizer: Any) -> None:
    # é is 2 bytes in UTF-8, € 3, 😀 4: one token each byte.
    _, offsets = encode(byte_tokenizer, "aé€😀")
    assert offsets.tolist() == list(range(1 + 2 + 3 + 4 + 1))


def test_a_special_token_written_out_covers_its_bytes(byte_tokenizer: Any) -> None:
    ids, offsets = encode(byte_tokenizer, "a<|endoftext|>b")
    assert ids[1] == 0
    assert offsets.tolist() == [0, 1, 14, 15]  # "<|endoftext|>" has 13 characters


def test_batches_equal_single_texts(merged: Any) -> None:
    for text, (ids, offsets) in zip(TEXTS, encode_batch(merged, TEXTS), strict=True):
        one_ids, one_offsets = encode(merged, text)
        assert ids.tolist() == one_ids.tolist()
        assert offsets.tolist() == one_offsets.tolist()


def test_truncation_and_padding_left_in_the_tokenizer_do_not_count(merged: Any) -> None:
    tokenizer = copy.deepcopy(merged)
    tokenizer.backend_tokenizer.enable_truncation(2)
    tokenizer.backend_tokenizer.enable_padding(length=40)
    assert (
        encode(tokenizer, "the cat sat on the mat")[0].tolist() == encode(merged, "the cat sat on the mat")[0].tolist()
    )


def test_words_without_byte_symbols_get_boundaries_from_characters() -> None:
    backend = Tokenizer(models.WordLevel({"é": 0, "cat": 1, "?": 2}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # Bytes: é 0-2, two spaces 2-4, cat 4-7, space 7-8. White space belongs to the next token, at the end to the last.
    ids, offsets = encode(wrapped(backend), "é  cat ")
    assert ids.tolist() == [0, 1]
    assert offsets.tolist() == [0, 2, 8]


def test_byte_fallback_shares_the_bytes_of_a_character() -> None:
    vocabulary = {"?": 0, "a": 1, "<0xE2>": 2, "<0x82>": 3, "<0xAC>": 4}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="?", byte_fallback=True))
    # € is E2 82 AC: three tokens on one character.
    ids, offsets = encode(wrapped(backend), "a€a")
    assert ids.tolist() == [1, 2, 3, 4, 1]
    assert offsets.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_normalizer_that_changes_the_text_still_covers_the_text(merged: Any) -> None:
    tokenizer = copy.deepcopy(merged)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    decomposed = "cafe\u0301 the"  # e and a combining accent: 3 bytes, é after NFC: 2
    _, offsets = encode(tokenizer, decomposed)
    assert offsets[0] == 0
    assert offsets[-1] == len(decomposed.encode())
    assert (np.diff(offsets) >= 0).all()
    _, exact = encode(tokenizer, "café the")  # already composed: exact
    assert exact.tolist() == encode(merged, "café the")[1].tolist()


def test_round_trip_through_a_directory(merged: Any, tmp_path: Path) -> None:
    merged.save_pretrained(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    for text in TEXTS:
        assert encode(loaded, text)[0].tolist() == encode(merged, text)[0].tolist()
    assert loaded.eos_token_id == loaded.pad_token_id == 0


def test_a_tokenizer_without_padding_pads_with_its_end(merged: Any, tmp_path: Path) -> None:
    PreTrainedTokenizerFast(tokenizer_object=merged.backend_tokenizer, eos_token="<|endoftext|>").save_pretrained(
        tmp_path
    )
    assert load_tokenizer(str(tmp_path)).pad_token_id == 0


def test_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "tokenizer.json").write_text("{")
    with pytest.raises(DataError, match=r"no tokenizer at '.*damaged': name a directory with tokenizer.json") as caught:
        load_tokenizer(str(tmp_path / "damaged"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["./nowhere", "../nowhere", "here/nowhere", "a/b/nowhere", "{tmp}/nowhere"])
def test_a_local_path_is_never_looked_for_on_a_hub(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match=r"no tokenizer at '.*nowhere': there is no such directory"):
        load_tokenizer(path.format(tmp=tmp_path))
    assert not looks_local("some/model")


def test_a_model_without_a_tokenizer_does_not_get_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(DataError, match=r"the directory has no tokenizer\.json"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_an_end_says_so() -> None:
    with pytest.raises(DataError, match="no end-of-text token"):
        end_of_text_id(wrapped(Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))))


TRAIN_AND_HASH = """
import hashlib
from ontogeny.data.corpora.python_prose import PythonProse
from ontogeny.data.tokenizer import train_tokenizer
texts = [d.text for d in PythonProse(limit_chars=60_000).documents()]
print(hashlib.sha256(train_tokenizer(texts, 700).backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.slow
def test_training_does_not_depend_on_threads_or_hash_seed() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN_AND_HASH],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for threads, seed in (("1", "0"), ("3", "1"))
    ]
    first, second = (process.communicate()[0].strip() for process in processes)
    assert len(first) == 64
    assert first == second
