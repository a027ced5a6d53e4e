"""Documents cut into passages of tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.core.recipe_data import Data
from ontogeny.data.bos import FROM_SCRATCH, Bos
from ontogeny.data.chat import render
from ontogeny.data.joined_text import JoinedText, Offsets, passage_of, refuse_sides, whole_characters
from ontogeny.data.tokenizer import Encoded, encode_batch, end_of_text_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class _Row:
    """A document that is one passage."""

    text: str
    spans: tuple[tuple[int, int], ...]
    """Half-open character ranges that are supervised."""
    closed: bool
    """Does the text end itself? If not, the end-of-text token is added."""
    source: str


def cut(
    documents: Sequence[Document],
    tokenizer: "PreTrainedTokenizerFast",
    data: Data,
    corpus: str,
    bos: Bos = FROM_SCRATCH,
) -> list[Passage]:
    """Passages of the documents, in their order; `source` is `corpus:document#byte_offset`. `bos` stands before each.

    Plain documents are cut every `data.length` tokens, all of them supervised; a remainder shorter than
    `data.min_length` is dropped. With `boundary: document` no token is added; with `boundary: stream` documents are
    first joined by the end-of-text token. A cut never falls into a multi-byte character: such a passage is up to three
    tokens shorter. Rows (prompt and completion, chat) are one passage each, closed by the end-of-text token; a token is
    supervised if its first byte lies in the completion. What `bos` adds counts in both lengths. Raises DataError for a
    row of more than `data.length` tokens, or if `data.length` leaves no room for text.
    """
    length, min_length = data.length - len(bos.token_ids), max(data.min_length - len(bos.token_ids), 1)
    if length < 1:
        raise DataError(
            f"data.length is {data.length}, of which {len(bos.token_ids)} stand before the text: write a larger length"
        )
    if data.boundary == "stream":
        refuse_sides(documents, corpus)
    rows: dict[int, _Row] = {}
    for i, document in enumerate(documents):
        if document.messages:
            rows[i] = _Row(*render(document.messages, tokenizer, document.source), document.source)
        elif document.completion_spans is not None:
            rows[i] = _Row(document.text, document.completion_spans, False, document.source)
    texts = [rows[i].text if i in rows else document.text for i, document in enumerate(documents)]
    encoded = encode_batch(tokenizer, texts)
    end = end_of_text_id(tokenizer) if rows or data.boundary == "stream" else -1
    if data.boundary == "stream" and len(rows) < len(documents):
        plain = [i for i in range(len(documents)) if i not in rows]
        sources = [f"{corpus}:{documents[i].source}" for i in plain]
        joined = JoinedText([texts[i] for i in plain], [encoded[i] for i in plain], sources, end)
        ranges = _token_ranges(joined.content, joined.offsets, length, min_length)
        plain_passages = [bos.before(joined.passage(start, stop)) for start, stop in ranges]
        return [
            *plain_passages,
            *(_from_row(row, encoded[i], end, data.length, corpus, bos) for i, row in rows.items()),
        ]
    passages: list[Passage] = []
    for i, document in enumerate(documents):
        before = len(passages)
        if i in rows:
            passages.append(_from_row(rows[i], encoded[i], end, data.length, corpus, bos))
        else:
            whole = _from_document(texts[i], encoded[i], f"{corpus}:{document.source}", length, min_length)
            passages += [bos.before(passage) for passage in whole]
        if document.sides:
            sides = {name: _side(name, side, f"{corpus}:{document.source}") for name, side in document.sides.items()}
            passages[before:] = [replace(passage, sides=sides) for passage in passages[before:]]
    return passages


def _side(name: str, side: object, source: str) -> NDArray[np.float32]:
    """A side input as it is kept, float32 [n, d]. Raises DataError if it is none, or holds what is no number."""
    try:
        values = np.asarray(side, dtype=np.float32)
    except (TypeError, ValueError):
        raise DataError(f"{source}: the side input '{name}' is not an array of numbers") from None
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"{source}: the side input '{name}' has shape {list(values.shape)}: give [n, d], n vectors of width d "
            "([1, d] for a single one)"
        )
    if wrong := int((~np.isfinite(values)).sum()):
        raise DataError(f"{source}: the side input '{name}' holds {wrong} numbers that are NaN or infinite")
    return values


def _from_document(text: str, encoded: Encoded, source: str, length: int, min_length: int) -> Iterator[Passage]:
    ids, offsets = encoded
    content = text.encode()
    for start, stop in _token_ranges(content, offsets, length, min_length):
        yield passage_of(content, ids, offsets, start, stop, f"{source}#{offsets[start]}")


def _token_ranges(content: bytes, offsets: Offsets, length: int, min_length: int) -> Iterator[tuple[int, int]]:
    """Token ranges of `min_length` to `length` tokens, none beginning or ending inside a character."""
    count = len(offsets) - 1
    edges = whole_characters(content, offsets)
    start = 0
    while count - start >= min_length:
        stop = int(edges[min(start + length, count)])
        if stop == start:  # one character of more tokens than a passage holds: left out
            start += int(np.flatnonzero(edges[start + 1 :] > start)[0]) + 1
            continue
        if stop - start >= min_length:
            yield start, stop
        start = stop


def _from_row(row: _Row, encoded: Encoded, end: int, length: int, corpus: str, bos: Bos) -> Passage:
    ids, offsets = encoded
    byte_at = _byte_at(row.text)
    supervised = np.zeros(len(ids), dtype=bool)
    for first, last in row.spans:
        supervised |= (offsets[:-1] >= byte_at[first]) & (offsets[:-1] < byte_at[last])
    if not row.closed:
        ids, offsets = np.append(ids, np.int32(end)), np.append(offsets, offsets[-1])
        supervised = np.append(supervised, True)
    if len(ids) + bos.added_to(ids) > length:
        raise DataError(
            f"{corpus}:{row.source} has {len(ids) + bos.added_to(ids)} tokens, data.length allows {length}: "
            "raise data.length, or shorten or remove the row (rows are never cut)"
        )
    return bos.before(
        Passage(
            text=row.text, token_ids=ids, byte_offsets=offsets, source=f"{corpus}:{row.source}#0", supervised=supervised
        )
    )


def _byte_at(text: str) -> NDArray[np.int64]:
    """Byte offset of every character of a text, and of its end: int64 `[characters + 1]`."""
    content = np.frombuffer(text.encode(), dtype=np.uint8)
    return np.append(np.flatnonzero((content & 0xC0) != 0x80), len(content))
