"""Runs of 13 words, as numbers: how text that repeats is recognised."""

import re
from collections.abc import Sequence

import numpy as np

GRAM_WORDS = 13
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

# A word is a run of letters, digits and underscores; in scripts that are written without spaces, a character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")


def words_of(text: str) -> list[str]:
    """The words of a text, without regard to case and punctuation."""
    return _WORD.findall(text.casefold())


def grams_of(words: Sequence[str], lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes (uint64 `[n]`) of all runs of 13 words, and the index of each one's first word (int64 `[n]`).

    `words` are those of several texts, one behind the other, `lengths` how many each has; no run reaches from one text
    into the next. Equal runs have equal hashes, in every process: a polynomial over the words' hashes, mod 2^64.
    """
    count = len(words) - GRAM_WORDS + 1
    if count <= 0:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    hashes = _hashes(words)
    grams = np.zeros(count, dtype=np.uint64)
    for i in range(GRAM_WORDS):
        grams *= _MULTIPLIER
        grams += hashes[i : i + count]
    text = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.flatnonzero(text[:count] == text[GRAM_WORDS - 1 :])
    return grams[starts], starts


def _hashes(words: Sequence[str]) -> np.ndarray:
    from pandas.util import hash_array

    return np.asarray(hash_array(np.array(words, dtype=object)), dtype=np.uint64)
