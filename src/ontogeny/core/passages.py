"""Passages and probe sets: the texts that a run looks at again and again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ontogeny.core.errors import DataError


@dataclass(frozen=True, kw_only=True, eq=False)
class Passage:
    """A token sequence with its text and where it came from.

    `token_ids` is int32 `[n]`. `byte_offsets` is int32 `[n + 1]`: token i covers the UTF-8 bytes
    `byte_offsets[i]:byte_offsets[i + 1]` of `text` (an added special token covers none).
    `supervised` is bool `[n]`: does the training loss count this token as a target? (All true for plain text,
    only the completion for prompt/completion and chat rows. The first token is never predicted.)
    `sides`: side inputs by name, float32 `[n, d]` each, for models and loss terms that declare them.
    `bos_tokens`: how many tokens at the beginning are no text but put before it (`data.bos`); they are never predicted.
    """

    text: str
    token_ids: np.ndarray
    byte_offsets: np.ndarray
    source: str
    supervised: np.ndarray
    sides: Mapping[str, np.ndarray] = field(default_factory=dict)
    bos_tokens: int = 0

    @property
    def first_predicted(self) -> int:
        """Position of the first token that is predicted: of the text's first one if something stands before it."""
        return max(self.bos_tokens, 1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of token ids, supervision and side inputs, 16 hex digits."""
        digest = hashlib.sha256(np.ascontiguousarray(self.token_ids, dtype="<i4").tobytes())
        digest.update(np.packbits(self.supervised).tobytes())
        for name, side in sorted(self.sides.items()):
            digest.update(f"{name} {side.shape}".encode())
            digest.update(np.ascontiguousarray(side, dtype="<f4").tobytes())
        return digest.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProbeSet:
    """A named, ordered set of passages. A passage's id is its place in the set."""

    name: str
    passages: Sequence[Passage]
    about: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the passages' fingerprints in order, 16 hex digits."""
        return hashlib.sha256("".join(p.fingerprint for p in self.passages).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.passages)


def side_widths(passages: Sequence[Passage]) -> dict[str, int]:
    """Width d of each side input that the passages carry. Raises DataError unless all carry the same ones."""
    widths: dict[str, int] = {}
    for i, passage in enumerate(passages):
        own = {name: int(side.shape[1]) for name, side in passage.sides.items()}
        if i == 0:
            widths = own
        elif own != widths:
            raise DataError(
                f"passage {passage.source} carries {_sides_in_words(own)}, but {passages[0].source} "
                f"{_sides_in_words(widths)}: all passages of a set carry the same side inputs"
            )
    return widths


def _sides_in_words(widths: Mapping[str, int]) -> str:
    return ", ".join(f"'{name}' of width {width}" for name, width in widths.items()) or "no side input"


def document_of(source: str) -> str:
    """The document of a passage whose source is corpus:document#byte_offset."""
    return source.rpartition("#")[0] or source
