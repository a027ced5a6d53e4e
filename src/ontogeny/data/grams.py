"""Hashed 13-grams of words, by which repeated text is recognised."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GRAM_WORDS = 13
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

# A word is a run of letters, digits and underscores; in scripts written without spaces, one character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")


def words_of(text: str) -> list[str]:
    """The words of a text, case-folded, without punctuation."""
    return _WORD.findall(text.casefold())


def grams_of(words: Sequence[str], lengths: Sequence[int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes (uint64 `[n]`) of all 13-grams, and the index of each one's first word (int64 `[n]`).

    `words` are those of several texts, one after the other, `lengths` how many each text has; no 13-gram crosses from
    one text into the next. The hash is a polynomial over the words' hashes, mod 2^64, and equal in every process.
    """
    count = len(words) - GRAM_WORDS + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    hashes = _hash_words(words)
    grams = np.zeros(count, dtype=np.uint64)
    for i in range(GRAM_WORDS):
        grams *= _MULTIPLIER
        grams += hashes[i : i + count]
    text = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.flatnonzero(text[:count] == text[GRAM_WORDS - 1 :])
    return grams[starts], starts


def _hash_words(words: Sequence[str]) -> NDArray[np.uint64]:
    from pandas.util import hash_array

    return np.asarray(hash_array(np.array(words, dtype=object)), dtype=np.uint64)
