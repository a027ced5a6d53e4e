"""Corpora: sources of documents."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.component import Component

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a corpus, before tokenization.

    `completion_spans`: half-open character ranges of `text` that the loss counts; None means all of it.
    `messages`: a chat; `text` is then empty and rendered with the tokenizer's chat template.
    `sides`: side inputs of every passage that is cut from it, float32 `[n, d]` by name.
    """

    text: str
    source: str
    completion_spans: tuple[tuple[int, int], ...] | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    sides: Mapping[str, np.ndarray] = field(default_factory=dict)


class Corpus(Component):
    """A source of documents. Reading is deterministic: same files, same documents in the same order."""

    @abstractmethod
    def documents(self) -> Iterable[Document]:
        """All documents, in a fixed order."""
