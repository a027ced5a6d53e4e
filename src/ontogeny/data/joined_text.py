"""Documents joined to one long text: passages and windows of it, and where in it passages stand."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.contracts import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.core.windows import Windows
from ontogeny.data.tokenizer import Encoded, encode_batch, end_of_text_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Stream:
    """Encoded documents in their order, an end-of-text token (of no bytes) behind each."""

    def __init__(self, texts: Sequence[str], encoded: Sequence[Encoded], sources: Sequence[str], end: int) -> None:
        """`sources`: of each document, as `corpus:document`."""
        contents = [text.encode() for text in texts]
        self.sources = sources
        self.content = b"".join(contents)
        self._first_byte = np.concatenate([[0], np.cumsum([len(c) for c in contents], dtype=np.int64)])
        self._first_token = np.concatenate([[0], np.cumsum([len(e[0]) + 1 for e in encoded])])
        self.ids = np.concatenate([np.append(e[0], np.int32(end)) for e in encoded])
        starts = [np.append(e[1][:-1] + self._first_byte[i], self._first_byte[i + 1]) for i, e in enumerate(encoded)]
        self.offsets = np.concatenate([*starts, self._first_byte[-1:]])
        """int64 [tokens + 1]: where each token begins, in bytes of all documents; the last entry is their end."""

    def passage(self, start: int, stop: int) -> Passage:
        """Tokens `start` to `stop`; `source` is where the first of them begins."""
        document = int(np.searchsorted(self._first_token, start, side="right")) - 1
        at = self.offsets[start] - self._first_byte[document]
        return passage_of(self.content, (self.ids, self.offsets), start, stop, f"{self.sources[document]}#{at}")

    def windows(self, windows: Windows) -> tuple[list[Passage], np.ndarray]:
        """Windows in the order of the text, and the bytes that each covers, int64 [windows, 2].

        Window k begins at token k x step; only whole windows are taken, so less than a step remains behind the last. An
        edge inside a multi-byte character moves back to its beginning (up to three tokens). Raises DataError if the
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
        found = [self.passage(int(a), int(b)) for a, b in zip(first, last, strict=True)]
        return found, np.stack([self.offsets[first], self.offsets[last]], axis=1)


def stream_of(documents: Sequence[Document], tokenizer: "PreTrainedTokenizerFast", corpus: str) -> Stream:
    """Plain documents of a corpus, encoded and joined. Raises DataError for rows, which are no running text."""
    _refuse_rows(documents, corpus)
    refuse_sides(documents, corpus)
    texts = [document.text for document in documents]
    sources = [f"{corpus}:{document.source}" for document in documents]
    return Stream(texts, encode_batch(tokenizer, texts), sources, end_of_text_id(tokenizer))


def spans_of(documents: Sequence[Document], passages: Sequence[Passage], corpus: str) -> np.ndarray:
    """Where passages stand in their documents' joined text, in bytes: int64 [passages, 2]; last row, the whole text.

    `passages` as `passages.cut` gives them, in their order. Raises DataError for rows.
    """
    _refuse_rows(documents, corpus)
    at, document, used = 0, 0, 0
    spans = np.zeros((len(passages) + 1, 2), dtype=np.int64)
    sizes = [len(one.text.encode()) for one in documents]
    for row, passage in enumerate(passages):
        source, _, offset = passage.source.rpartition("#")
        while f"{corpus}:{documents[document].source}" != source or int(offset) < used:
            at, document, used = at + sizes[document], document + 1, 0
        first = at + int(offset)
        used = int(offset) + len(passage.text.encode())
        spans[row] = first, at + used
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
    if any(one.messages or one.completion_spans is not None for one in documents):
        raise DataError(
            f"corpus '{corpus}' has rows (prompts or chats), which are no running text: neither window nor "
            "part can be taken of it"
        )


def whole_characters(content: bytes, offsets: np.ndarray) -> np.ndarray:
    """For each token edge, the nearest one at or before it that is not inside a character: int64 [tokens + 1]."""
    inside = np.append((np.frombuffer(content, dtype=np.uint8) & 0xC0) == 0x80, False)[offsets]
    return np.maximum.accumulate(np.where(inside, 0, np.arange(len(offsets))))


def passage_of(content: bytes, encoded: Encoded, start: int, stop: int, source: str) -> Passage:
    """Tokens `start` to `stop` of an encoded text, all supervised."""
    ids, offsets = encoded
    first, last = int(offsets[start]), int(offsets[stop])
    return Passage(
        text=content[first:last].decode(),
        token_ids=ids[start:stop],
        byte_offsets=(offsets[start : stop + 1] - first).astype(np.int32),
        source=source,
        supervised=np.ones(stop - start, dtype=bool),
    )
