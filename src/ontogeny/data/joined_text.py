"""Documents joined to one long text: its passages and windows, and the byte ranges of passages in it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.core.windows import Windows
from ontogeny.data.tokenizer import Encoded, encode_batch, end_of_text_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Offsets = NDArray[np.int32] | NDArray[np.int64]
"""[tokens + 1]: the byte at which each token begins, and the byte at which the last one ends."""


class JoinedText:
    """Encoded documents in their order, each followed by an end-of-text token (of no bytes)."""

    def __init__(self, texts: Sequence[str], encoded: Sequence[Encoded], sources: Sequence[str], end: int) -> None:
        """`sources`: `corpus:document` of each document; `end`: id of the end-of-text token."""
        contents = [text.encode() for text in texts]
        self.sources = sources
        self.content = b"".join(contents)
        self._first_byte = np.concatenate([[0], np.cumsum([len(c) for c in contents], dtype=np.int64)])
        self._first_token = np.concatenate([[0], np.cumsum([len(ids) + 1 for ids, _ in encoded])])
        self.ids = np.concatenate([np.append(ids, np.int32(end)) for ids, _ in encoded])
        starts = [
            np.append(offsets[:-1] + self._first_byte[i], self._first_byte[i + 1])
            for i, (_, offsets) in enumerate(encoded)
        ]
        self.offsets: NDArray[np.int64] = np.concatenate([*starts, self._first_byte[-1:]])
        """int64 `[tokens + 1]`: byte of `content` at which each token begins; the last entry is its end."""

    def passage(self, start: int, stop: int) -> Passage:
        """Tokens `start` to `stop`; its `source` says where the first of them begins."""
        document = int(np.searchsorted(self._first_token, start, side="right")) - 1
        byte_in_document = self.offsets[start] - self._first_byte[document]
        source = f"{self.sources[document]}#{byte_in_document}"
        return passage_of(self.content, self.ids, self.offsets, start, stop, source)

    def windows(self, windows: Windows) -> tuple[list[Passage], NDArray[np.int64]]:
        """Windows in the order of the text, and the bytes that each covers: int64 `[windows, 2]`.

        Window k begins at token k * step. All windows are whole, so less than a step of text is left behind the last.
        An edge inside a multi-byte character moves back to its beginning (up to three tokens). Raises DataError if the
        text is shorter than a window.
        """
        count = len(self.ids)
        if count < windows.length:
            raise DataError(
                f"{self.sources[0].partition(':')[0]}: its text has {count} tokens, a window {windows.length}: "
                "give more text, or write a shorter window"
            )
        starts = np.arange(0, count - windows.length + 1, windows.step)
        edges = whole_characters(self.content, self.offsets)
        first = edges[starts]
        last = edges[first + windows.length]
        passages = [self.passage(int(start), int(stop)) for start, stop in zip(first, last, strict=True)]
        return passages, np.stack([self.offsets[first], self.offsets[last]], axis=1)


def join_documents(documents: Sequence[Document], tokenizer: "PreTrainedTokenizerFast", corpus: str) -> JoinedText:
    """Encode and join the plain documents of a corpus. Raises DataError for rows, which are no running text."""
    _refuse_rows(documents, corpus)
    refuse_sides(documents, corpus)
    texts = [document.text for document in documents]
    sources = [f"{corpus}:{document.source}" for document in documents]
    return JoinedText(texts, encode_batch(tokenizer, texts), sources, end_of_text_id(tokenizer))


def passage_spans(documents: Sequence[Document], passages: Sequence[Passage], corpus: str) -> NDArray[np.int64]:
    """Byte ranges of passages in their documents' joined text: int64 `[passages + 1, 2]`; the last row is all of it.

    `passages` are those that `passages.cut` returns, in their order. Raises DataError for rows.
    """
    _refuse_rows(documents, corpus)
    document_start, document, end_in_document = 0, 0, 0
    spans = np.zeros((len(passages) + 1, 2), dtype=np.int64)
    sizes = [len(document.text.encode()) for document in documents]
    for i, passage in enumerate(passages):
        source, _, offset = passage.source.rpartition("#")
        # Two documents may have the same source: an offset before the last passage's end belongs to the next of them.
        while f"{corpus}:{documents[document].source}" != source or int(offset) < end_in_document:
            document_start, document, end_in_document = document_start + sizes[document], document + 1, 0
        end_in_document = int(offset) + len(passage.text.encode())
        spans[i] = document_start + int(offset), document_start + end_in_document
    spans[-1] = 0, sum(sizes)
    return spans


def refuse_sides(documents: Sequence[Document], corpus: str) -> None:
    """Raise DataError for documents that carry side inputs, which belong to one document and not to a joined text."""
    names = sorted({name for document in documents for name in document.sides})
    if names:
        raise DataError(
            f"corpus '{corpus}' carries side inputs ({', '.join(names)}), which belong to single documents: write "
            "boundary: document, and take passages, not windows"
        )


def _refuse_rows(documents: Sequence[Document], corpus: str) -> None:
    if any(document.messages or document.completion_spans is not None for document in documents):
        raise DataError(
            f"corpus '{corpus}' has rows (prompts or chats), which are no running text: take neither a window nor a "
            "part of it"
        )


def whole_characters(content: bytes, offsets: Offsets) -> NDArray[np.int64]:
    """For each token edge, the nearest one at or before it that is not inside a character: int64 `[tokens + 1]`."""
    # in UTF-8 the second and later bytes of a character are 10xxxxxx
    inside = np.append((np.frombuffer(content, dtype=np.uint8) & 0xC0) == 0x80, False)[offsets]
    return np.maximum.accumulate(np.where(inside, 0, np.arange(len(offsets))))


def passage_of(content: bytes, ids: NDArray[np.int32], offsets: Offsets, start: int, stop: int, source: str) -> Passage:
    """Tokens `start` to `stop` of an encoded text, all supervised."""
    first, last = int(offsets[start]), int(offsets[stop])
    return Passage(
        text=content[first:last].decode(),
        token_ids=ids[start:stop],
        byte_offsets=(offsets[start : stop + 1] - first).astype(np.int32),
        source=source,
        supervised=np.ones(stop - start, dtype=bool),
    )
