"""Documents of a corpus: reading them, dropping repeats, fingerprints."""

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ontogeny.core.corpora import Corpus, Document
from ontogeny.core.errors import DataError
from ontogeny.core.json_types import Json
from ontogeny.data.grams import grams_of, words_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Repeats = Literal["none", "documents", "paragraphs"]

SHARE_KNOWN = 0.25
"""A paragraph is a repeat if at least this share of its 13-grams occurred earlier in the corpus."""

_BLANK_LINES = re.compile(r"(\n[ \t\r]*(?:\n[ \t\r]*)*\n)")


class DescribedCorpus(Corpus):
    """A corpus that knows where its text comes from, and may know it in other words."""

    def origin(self) -> Mapping[str, Json]:
        """What else decides which documents there are (versions, revisions), for the provenance."""
        return {}

    def reworded(self, document: str, text: str) -> str | None:
        """A paraphrase of `text`, part of the document with this source; None where the corpus has none."""
        return None


class GeneratedCorpus(DescribedCorpus):
    """A corpus that a model writes before training. It is stored in the run, and read from there on resume."""

    run: str | None = None
    """Directory of the run whose model writes it; by default the model that training starts from."""
    step: int | None = None
    """Which checkpoint of that run; by default the last."""

    @abstractmethod
    def write(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", bos: Sequence[int] = ()
    ) -> Iterable[Document]:
        """Generate all documents, in a fixed order; the model is in evaluation mode afterwards.

        `bos`: ids that stood before the texts that the model was trained on; they are no part of a document.
        """

    def documents(self) -> Iterable[Document]:
        """Raises DataError: without a model there are no documents."""
        raise DataError(
            "is written by a model when a run begins: take from it in data.train, data.replay or data.probes"
        )


class ReadCorpus(DescribedCorpus):
    """A corpus that is read from somewhere: its repeats can be dropped, and its size limited."""

    deduplicate: Repeats = "none"
    """documents: a document equal to an earlier one is dropped. paragraphs: so is every paragraph (text between blank
    lines) that occurred earlier in the corpus, up to white space, or at least a quarter of whose 13-word sequences did.
    """
    limit_chars: int | None = Field(default=None, ge=1)
    """Keep documents of at most this many characters in all: a fixed random choice, which a larger limit extends."""

    @abstractmethod
    def read(self) -> Iterable[Document]:
        """The documents, repeats included. Raises DataError naming file (and line) if they cannot be read."""

    def documents(self) -> Iterable[Document]:
        """Documents without repeats, of at most `limit_chars` characters in all, in the order of reading."""
        kept = drop_repeats(self.read(), self.deduplicate)
        return kept if self.limit_chars is None else _limit(list(kept), self.limit_chars)


def document_fingerprint(document: Document) -> str:
    """SHA-256 of a document's text, supervised ranges and messages, 64 hex digits; its source does not count."""
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


def read_documents(name: str, corpus: Corpus, generated: Iterable[Document] | None = None) -> list[Document]:
    """All documents of the corpus called `name` that are not empty; `generated`: those that a model wrote for it.

    Raises DataError, naming the corpus, if it cannot be read, holds no text, or text that UTF-8 cannot encode.
    """
    try:
        unchecked = corpus.documents() if generated is None else generated
        documents = [_check_encodable(d) for d in unchecked if d.text.strip() or d.messages]
    except DataError as error:
        raise DataError(f"corpus '{name}': {error}") from None
    if not documents:
        raise DataError(f"corpus '{name}' ({type(corpus).kind}) holds no text: give it at least one document")
    return documents


def _check_encodable(document: Document) -> Document:
    try:
        for text in (document.text, *(message["content"] for message in document.messages)):
            text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{document.source}: half a surrogate pair at character {error.start}: mend the text") from None
    return document


def drop_repeats(documents: Iterable[Document], what: Repeats) -> Iterable[Document]:
    """Drop documents, or paragraphs, that repeat earlier ones; a document of which nothing is left is dropped."""
    if what == "none":
        return documents
    if what == "paragraphs":
        return _drop_repeated_paragraphs(list(documents))
    first: dict[str, Document] = {}
    for document in documents:
        first.setdefault(document_fingerprint(document), document)
    return first.values()


def _drop_repeated_paragraphs(documents: Sequence[Document]) -> Iterator[Document]:
    """The separator before a dropped paragraph is dropped with it."""
    pieces: list[list[str]] = []  # of each document: paragraph, separator, paragraph, …
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


def which_repeat(paragraphs: Sequence[str]) -> NDArray[np.bool_]:
    """Which paragraphs repeat earlier ones, exactly (up to white space) or by `SHARE_KNOWN`: bool `[n]`."""
    words = [words_of(paragraph) for paragraph in paragraphs]
    lengths = [len(words_of_paragraph) for words_of_paragraph in words]
    numbers = np.arange(len(paragraphs))
    first: dict[str, int] = {}
    repeated = np.array([first.setdefault(" ".join(p.split()), i) for i, p in enumerate(paragraphs)]) < numbers
    grams, starts = grams_of([word for words_of_paragraph in words for word in words_of_paragraph], lengths)
    if len(grams):
        paragraph = np.repeat(numbers, lengths)[starts]
        _, earliest, inverse = np.unique(grams, return_index=True, return_inverse=True)
        occurred_before = paragraph[earliest[inverse]] < paragraph
        known = np.bincount(paragraph, occurred_before, len(paragraphs))
        repeated |= (known > 0) & (known >= SHARE_KNOWN * np.bincount(paragraph, minlength=len(paragraphs)))
    return repeated


def _limit(documents: Sequence[Document], limit_chars: int) -> list[Document]:
    """Documents of at most `limit_chars` characters in all (at least one), chosen by fingerprint, in their order."""
    chosen: list[int] = []
    total = 0
    for index in sorted(range(len(documents)), key=lambda i: document_fingerprint(documents[i])):
        total += size_of(documents[index])
        if total > limit_chars and chosen:
            break
        chosen.append(index)
    return [documents[i] for i in sorted(chosen)]
