"""Passages and probe sets: the texts that a run looks at again and again."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Passage:
    """A token sequence with its text and where it came from.

    `token_ids` is int32 `[n]`. `byte_offsets` is int32 `[n + 1]`: token i covers the UTF-8 bytes
    `byte_offsets[i]:byte_offsets[i + 1]` of `text` (an added special token covers none).
    `supervised` is bool `[n]`: does the training loss count this token as a target? (All true for plain text,
    only the completion for prompt/completion and chat rows. The first token is never predicted.)
    """

    text: str
    token_ids: np.ndarray
    byte_offsets: np.ndarray
    source: str
    supervised: np.ndarray

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of token ids and supervision, 16 hex digits."""
        digest = hashlib.sha256(np.ascontiguousarray(self.token_ids, dtype="<i4").tobytes())
        digest.update(np.packbits(self.supervised).tobytes())
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


def document_of(source: str) -> str:
    """The document of a passage whose source is corpus:document#byte_offset."""
    return source.rpartition("#")[0] or source
