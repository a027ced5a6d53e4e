"""Do two splits share text? Exact passages, and runs of 13 words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.data.grams import GRAM_WORDS, grams_of, words_of

MAX_RATE = 0.01


@dataclass(frozen=True)
class SplitText:
    """What is compared of one split: fingerprints of its passages, its words, and the hashes of its 13-grams."""

    name: str
    passages: Mapping[str, Passage]
    words: Sequence[str]
    grams: np.ndarray
    """uint64 `[n]`, one for each 13-gram."""
    starts: np.ndarray
    """int64 `[n]`: index of the first word of each 13-gram."""


@dataclass(frozen=True)
class Overlap:
    """What two splits share.

    `exact`: passages (token ids and supervision) that stand in both. `rate_first`, `rate_second`: the share of either
    split's 13-grams that occur in the other (0 if a split has none). `examples`: some of the shared 13-grams.
    """

    first: str
    second: str
    exact: int
    grams_first: int
    grams_second: int
    rate_first: float
    rate_second: float
    examples: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """Whether a passage stands in both, or more than 1% of one split's 13-grams occur in the other."""
        return self.exact > 0 or max(self.rate_first, self.rate_second) > MAX_RATE

    def as_json(self) -> dict[str, Any]:
        """Plain values for the provenance."""
        return {
            "splits": [self.first, self.second],
            "exact_passages": self.exact,
            "gram_words": GRAM_WORDS,
            "grams": [self.grams_first, self.grams_second],
            "gram_rate": [self.rate_first, self.rate_second],
            "examples": list(self.examples),
            "leaks": self.leaks,
        }


def split_text(name: str, passages: Sequence[Passage]) -> SplitText:
    """Words and 13-grams of a split's passages.

    Only what the training loss counts is compared (all of plain text, the completions of rows), so that a prompt that
    every row repeats is no leak. Passages that follow each other in a document count as one text; no 13-gram reaches
    from one text into another. Words are compared without regard to case and punctuation.
    """
    words: list[str] = []
    lengths: list[int] = []
    for text in _texts(passages):
        found = words_of(text)
        words += found
        lengths.append(len(found))
    grams, starts = grams_of(words, lengths)
    return SplitText(name, {p.fingerprint: p for p in passages}, words, grams, starts)


def compare(first: SplitText, second: SplitText) -> Overlap:
    """What two splits share. Cost: a sort of the 13-grams; about a second for ten million characters."""
    exact = [p for fingerprint, p in first.passages.items() if fingerprint in second.passages]
    in_second = _member(first.grams, second.grams)
    in_first = _member(second.grams, first.grams)
    shared = first.starts[in_second]
    spread = shared[np.linspace(0, len(shared) - 1, min(3, len(shared)), dtype=int)]
    examples = [p.text for p in exact[:2]] + [" ".join(first.words[at : at + GRAM_WORDS]) for at in spread]
    return Overlap(
        first=first.name,
        second=second.name,
        exact=len(exact),
        grams_first=len(first.grams),
        grams_second=len(second.grams),
        rate_first=float(in_second.mean()) if len(in_second) else 0.0,
        rate_second=float(in_first.mean()) if len(in_first) else 0.0,
        examples=tuple(example[:200] for example in examples),
    )


def check(splits: Mapping[str, Sequence[Passage]], trained: Iterable[str], allow: bool) -> list[Overlap]:
    """Compare every pair of splits.

    Raises DataError, unless `allow`, if a split that is trained on shares text with one that is only looked at.
    """
    texts = [split_text(name, passages) for name, passages in splits.items()]
    overlaps = [compare(first, second) for first, second in combinations(texts, 2)]
    of_training = set(trained)
    for found in overlaps:
        if found.leaks and not allow and len({found.first, found.second} & of_training) == 1:
            raise DataError(_refusal(found))
    return overlaps


def _refusal(found: Overlap) -> str:
    examples = "; ".join(repr(example[:100]) for example in found.examples[:3])
    return (
        f"splits {found.first} and {found.second} share text: {found.exact} equal passage(s); {found.rate_first:.2%} of"
        f" the 13-word sequences of {found.first} occur in {found.second}, {found.rate_second:.2%} the other way round"
        f" (at most {MAX_RATE:.0%}); for instance {examples}. Write  deduplicate: paragraphs  for the corpus, or accept"
        " it with  allow_overlap: true  under data"
    )


def _texts(passages: Sequence[Passage]) -> Iterator[str]:
    """Supervised text, passages that continue each other joined."""
    pieces: list[str] = []
    due: tuple[str, int] | None = None
    for passage in passages:
        document, _, at = passage.source.rpartition("#")
        if due != (document, int(at)):
            if pieces:
                yield "".join(pieces)
            pieces = []
        content = passage.text.encode()
        pieces.append(passage.text if passage.supervised.all() else _supervised_text(passage, content))
        due = (document, int(at) + len(content))
    if pieces:
        yield "".join(pieces)


def _supervised_text(passage: Passage, content: bytes) -> str:
    offsets = passage.byte_offsets
    kept = [content[offsets[i] : offsets[i + 1]] for i in np.flatnonzero(passage.supervised)]
    return b"".join(kept).decode("utf-8", "replace")


def _member(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Whether each value occurs among the others: bool, like `values`."""
    if not len(among) or not len(values):
        return np.zeros(len(values), dtype=bool)
    return np.isin(values, among)
