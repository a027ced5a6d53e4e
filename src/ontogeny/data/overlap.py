"""Do two splits share text? Exact passages, and runs of 13 words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError
from ontogeny.core.json_types import Json
from ontogeny.core.passages import Passage
from ontogeny.data.grams import GRAM_WORDS, grams_of, words_of

MAX_RATE = 0.01
"""Two splits may share at most this share of either one's 13-grams."""


@dataclass(frozen=True)
class SplitText:
    """The text of one split, ready to be compared with another's."""

    name: str
    passages: Mapping[str, Passage]
    """By fingerprint."""
    words: Sequence[str]
    grams: NDArray[np.uint64]
    """uint64 `[n]`: hash of each 13-gram."""
    starts: NDArray[np.int64]
    """int64 `[n]`: index in `words` of the first word of each 13-gram."""


@dataclass(frozen=True)
class Overlap:
    """The text that two splits share.

    `exact`: number of passages (token ids and supervision) in both. `rate_first`, `rate_second`: the share of either
    split's 13-grams that occur in the other (0 if a split has none). `examples`: some of the shared text.
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
        """Does a passage occur in both, or more than 1% of one split's 13-grams in the other?"""
        return self.exact > 0 or max(self.rate_first, self.rate_second) > MAX_RATE

    def as_json(self) -> dict[str, Json]:
        """The overlap as it is recorded in the provenance."""
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

    Only supervised text is compared (all of plain text, the completions of rows), so a prompt that every row repeats is
    no leak. Passages that follow each other in a document count as one text; no 13-gram crosses from one text into
    another. Case and punctuation are ignored.
    """
    words: list[str] = []
    lengths: list[int] = []
    for text in _texts(passages):
        words_of_text = words_of(text)
        words += words_of_text
        lengths.append(len(words_of_text))
    grams, starts = grams_of(words, lengths)
    return SplitText(name, {p.fingerprint: p for p in passages}, words, grams, starts)


def compare(first: SplitText, second: SplitText) -> Overlap:
    """The text that two splits share. Cost: a sort of the 13-grams; about a second for ten million characters."""
    exact = [p for fingerprint, p in first.passages.items() if fingerprint in second.passages]
    in_second = _occurs(first.grams, second.grams)
    in_first = _occurs(second.grams, first.grams)
    shared = first.starts[in_second]
    spread = shared[np.linspace(0, len(shared) - 1, min(3, len(shared)), dtype=int)]
    examples = [p.text for p in exact[:2]] + [" ".join(first.words[start : start + GRAM_WORDS]) for start in spread]
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
    """Compare every pair of splits. `trained`: names of those that are trained on.

    Raises DataError, unless `allow`, if a split that is trained on shares text with one that is held out.
    """
    texts = [split_text(name, passages) for name, passages in splits.items()]
    overlaps = [compare(first, second) for first, second in combinations(texts, 2)]
    trained_splits = set(trained)
    for overlap in overlaps:
        if overlap.leaks and not allow and len({overlap.first, overlap.second} & trained_splits) == 1:
            raise DataError(_describe_leak(overlap))
    return overlaps


def _describe_leak(overlap: Overlap) -> str:
    first, second = overlap.first, overlap.second
    examples = "; ".join(repr(example[:100]) for example in overlap.examples[:3])
    return (
        f"splits {first} and {second} share text: {overlap.exact} equal passage(s); {overlap.rate_first:.2%} of"
        f" the 13-word sequences of {first} occur in {second}, {overlap.rate_second:.2%} the other way round"
        f" (at most {MAX_RATE:.0%}); for instance {examples}. Write  deduplicate: paragraphs  for the corpus, or accept"
        " it with  allow_overlap: true  under data"
    )


def _texts(passages: Sequence[Passage]) -> Iterator[str]:
    """Supervised text, with passages that continue each other joined."""
    pieces: list[str] = []
    continuation: tuple[str, int] | None = None  # document and byte at which the last passage would go on
    for passage in passages:
        document, _, start = passage.source.rpartition("#")
        if continuation != (document, int(start)):
            if pieces:
                yield "".join(pieces)
            pieces = []
        content = passage.text.encode()
        pieces.append(
            passage.text if passage.supervised[passage.bos_tokens :].all() else _supervised_text(passage, content)
        )
        continuation = (document, int(start) + len(content))
    if pieces:
        yield "".join(pieces)


def _supervised_text(passage: Passage, content: bytes) -> str:
    offsets = passage.byte_offsets
    kept = [content[offsets[i] : offsets[i + 1]] for i in np.flatnonzero(passage.supervised)]
    return b"".join(kept).decode("utf-8", "replace")


def _occurs(grams: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which 13-grams occur in the other split: bool, like `grams`."""
    if not len(other) or not len(grams):
        return np.zeros(len(grams), dtype=bool)
    return np.isin(grams, other)
