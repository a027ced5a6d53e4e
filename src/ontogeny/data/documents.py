"""Documents of a corpus: reading them, dropping what repeats, fingerprints."""

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Corpus, Document
from ontogeny.core.errors import DataError
from ontogeny.data.grams import grams_of, words_of

Repeats = Literal["none", "documents", "paragraphs"]

SHARE_KNOWN = 0.25
"""A paragraph repeats when at least this share of its 13-word sequences stood in the corpus before."""

_BLANK_LINES = re.compile(r"(\n[ \t\r]*(?:\n[ \t\r]*)*\n)")


class DescribedCorpus(Corpus):
    """A corpus that can say where its text comes from."""

    def origin(self) -> Mapping[str, Any]:
        """What else decides which documents there are (versions, revisions), for the provenance: plain values."""
        return {}

    def reworded(self, document: str, text: str) -> str | None:
        """What a part of a document (by its source) says, in other words; None where the corpus knows none."""
        return None


class WrittenCorpus(DescribedCorpus):
    """A corpus that a model writes before training. It is kept in the run: one that continues reads it there."""

    run: str | None = None
    """Directory of the run whose model writes; by default the model that training starts from."""
    step: int | None = None
    """At which checkpoint of that run; by default the last."""

    @abstractmethod
    def write(self, model: Any, tokenizer: Any) -> Iterable[Document]:
        """Let the model write all documents, in a fixed order; it is in evaluation mode afterwards."""

    def documents(self) -> Iterable[Document]:
        """Raises DataError: without a model there are none."""
        raise DataError(
            "is written by a model when a run begins: take from it in data.train, data.replay or data.probes"
        )


class ReadCorpus(DescribedCorpus):
    """A corpus that is read from somewhere: repeats can be dropped, and a part of it can be taken."""

    deduplicate: Repeats = "none"
    """documents: a document equal to an earlier one is dropped. paragraphs: so is every paragraph (text between blank
    lines) that stood in the corpus before, white space apart, or a quarter of whose 13-word sequences did."""
    limit_chars: int | None = Field(default=None, ge=1)
    """Keep documents of at most this many characters in all: a fixed random choice, a larger limit only adds to it."""

    @abstractmethod
    def read(self) -> Iterable[Document]:
        """The documents as they are. Raises DataError naming file (and line) when they cannot be read."""

    def documents(self) -> Iterable[Document]:
        """Documents without repeats, at most `limit_chars` in all, in the order of reading."""
        kept = drop_repeats(self.read(), self.deduplicate)
        return kept if self.limit_chars is None else _limit(list(kept), self.limit_chars)


def document_fingerprint(document: Document) -> str:
    """SHA-256 of a document's text, of what of it is supervised, and of its messages; not of its source."""
    digest = hashlib.sha256(document.text.encode())
    if document.completion_spans is not None:
        digest.update(b"\0" + json.dumps(document.completion_spans).encode())
    if document.messages:
        digest.update(b"\0" + json.dumps([dict(m) for m in document.messages], sort_keys=True).encode())
    return digest.hexdigest()


def corpus_fingerprint(documents: Iterable[Document]) -> str:
    """SHA-256 over the documents' fingerprints in order, 64 hex digits."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(bytes.fromhex(document_fingerprint(document)))
    return digest.hexdigest()


def size_of(document: Document) -> int:
    """Characters of a document, messages included."""
    return len(document.text) + sum(len(m["content"]) for m in document.messages)


def read_documents(name: str, corpus: Corpus, written: Iterable[Document] | None = None) -> list[Document]:
    """All documents of the corpus called `name`, empty ones left out; `written`: those that a model wrote for it.

    Raises DataError, naming the corpus, when it cannot be read, holds no text, or text that UTF-8 cannot hold.
    """
    try:
        found = corpus.documents() if written is None else written
        documents = [_checked(d) for d in found if d.text.strip() or d.messages]
    except DataError as error:
        raise DataError(f"corpus '{name}': {error}") from None
    if not documents:
        raise DataError(f"corpus '{name}' ({type(corpus).kind}) holds no text: give it at least one document")
    return documents


def _checked(document: Document) -> Document:
    try:
        for text in (document.text, *(message["content"] for message in document.messages)):
            text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{document.source}: half a surrogate pair at character {error.start}: mend the text") from None
    return document


def drop_repeats(documents: Iterable[Document], what: Repeats) -> Iterable[Document]:
    """Drop documents, or paragraphs, that stood before; a document of which nothing is left is dropped."""
    if what == "none":
        return documents
    if what == "paragraphs":
        return _without_repeated_paragraphs(list(documents))
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document_fingerprint(document), document)
    return first.values()


def _without_repeated_paragraphs(documents: Sequence[Document]) -> Iterator[Document]:
    """The separator before a dropped paragraph goes with it."""
    pieces: list[list[str]] = []
    for document in documents:
        if document.completion_spans is not None or document.messages:
            raise DataError(
                f"{document.source} is a prompt with completion or a chat, from which no paragraph can be dropped: "
                "write deduplicate: documents"
            )
        pieces.append(_BLANK_LINES.split(document.text))
    repeated = iter(which_repeat([text for piece in pieces for text in piece[::2]]))
    for document, piece in zip(documents, pieces, strict=True):
        kept: list[str] = []
        for i in range(0, len(piece), 2):
            if not next(repeated):
                kept += [piece[i - 1] if i and kept else "", piece[i]]
        text = "".join(kept)
        if text.strip():
            yield replace(document, text=text)


def which_repeat(paragraphs: Sequence[str]) -> np.ndarray:
    """Which paragraphs repeat earlier ones: bool `[n]`."""
    words = [words_of(paragraph) for paragraph in paragraphs]
    numbers = np.arange(len(paragraphs))
    first: dict[str, int] = {}
    repeated = np.array([first.setdefault(" ".join(p.split()), i) for i, p in enumerate(paragraphs)]) < numbers
    grams, starts = grams_of([word for found in words for word in found], [len(found) for found in words])
    if len(grams):
        paragraph = np.repeat(numbers, [len(found) for found in words])[starts]
        _, earliest, same = np.unique(grams, return_index=True, return_inverse=True)
        stood_before = paragraph[earliest[same]] < paragraph
        known = np.bincount(paragraph, stood_before, len(paragraphs))
        repeated |= (known > 0) & (known >= SHARE_KNOWN * np.bincount(paragraph, minlength=len(paragraphs)))
    return repeated


def _limit(documents: Sequence[Document], limit_chars: int) -> list[Document]:
    """Documents of at most `limit_chars` in all (at least one), chosen by fingerprint, in their order."""
    chosen: list[int] = []
    total = 0
    for index in sorted(range(len(documents)), key=lambda i: document_fingerprint(documents[i])):
        total += size_of(documents[index])
        if total > limit_chars and chosen:
            break
        chosen.append(index)
    return [documents[i] for i in sorted(chosen)]
