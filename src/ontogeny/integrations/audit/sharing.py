"""Text that training and validation have in common."""

from collections.abc import Sequence

import numpy as np

from ontogeny.data.grams import GRAM_WORDS, grams_of, words_of
from ontogeny.integrations.audit.observed import Shared

LEAST_WORDS = 5
"""Of a text that is compared as a whole."""


def shared_text(train: Sequence[str], validation: Sequence[str]) -> Shared:
    """Compare words, without regard to case and punctuation: whole texts, and runs of 13.

    Runs that more than 1% of the training texts (and more than five) share do not count: a template is no leak. Each
    text, and each run, of validation counts once: a licence at the end of many texts is one passage.
    """
    trained, looked = ([words_of(text) for text in texts] for texts in (train, validation))
    known = {tuple(words) for words in trained if len(words) >= LEAST_WORDS}
    exact = [words for words in looked if tuple(words) in known]
    once = {tuple(words) for words in looked}
    grams, starts, _ = _grams(looked)
    grams, first = np.unique(grams, return_index=True)
    starts = starts[first]
    inside = np.isin(grams, _telling(trained))
    flat = [word for words in looked for word in words]
    example = exact[0] if exact else []
    if inside.any():
        at = int(starts[inside].min())
        example = flat[at : at + GRAM_WORDS]
    rate = float(inside.mean()) if len(inside) else 0.0
    shown = " ".join(example[:GRAM_WORDS])
    whole = [words for words in once if words in known]
    words = sum(map(len, whole)) / max(sum(map(len, once)), 1)
    longest = max((len(one) for one in whole), default=0)
    return Shared(
        texts=len(looked),
        exact=len(exact),
        exact_share=words,
        exact_different=len(whole),
        longest_exact=longest,
        grams=len(grams),
        rate=rate,
        example=shown,
    )


def _telling(texts: Sequence[list[str]]) -> np.ndarray:
    """Hashes of the runs of words that at most 1% of the texts share (or five)."""
    grams, _, owners = _grams(texts)
    order = np.lexsort((owners, grams))
    grams, owners = grams[order], owners[order]
    new = np.ones(len(grams), dtype=bool)
    new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    distinct, counts = np.unique(grams[new], return_counts=True)
    return distinct[counts <= max(5, 0.01 * len(texts))]


def _grams(texts: Sequence[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each run of words: its hash, the index of its first word among all, and the index of its text [n]."""
    lengths = [len(words) for words in texts]
    grams, starts = grams_of([word for words in texts for word in words], lengths)
    return grams, starts, np.repeat(np.arange(len(lengths)), lengths)[starts]
