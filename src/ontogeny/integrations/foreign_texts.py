"""Passages from the data of a foreign training loop: plain texts, or tokenized rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.data.bos import Bos, decide
from ontogeny.data.tokenizer import encode

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from transformers import PreTrainedTokenizerFast

Row = str | Mapping[str, "ArrayLike"]
"""A text, or `input_ids` [n] with or without `labels` [n] and `attention_mask` [n]."""


class Rows(Protocol):
    """Rows of a data set that can be indexed: a list of texts, a `datasets.Dataset`, a torch data set."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


def probe_set(
    name: str, rows: Rows | ProbeSet, tokenizer: "PreTrainedTokenizerFast", *, count: int, length: int
) -> ProbeSet:
    """Up to `count` passages, evenly spaced over `rows`, truncated to `length` tokens.

    A row is a text, or a mapping with `input_ids` and optionally `labels` (-100: not supervised) and `attention_mask`
    (0: padding, left out). Raises DataError if no row gives two tokens.
    """
    if isinstance(rows, ProbeSet):
        return rows
    chosen = sorted({round(i) for i in np.linspace(0, len(rows) - 1, min(count, len(rows)))})
    passages = [_passage(rows[i], f"{name}:{i}", tokenizer, length) for i in chosen]
    passages = [passage for passage in passages if len(passage) > 1]
    if not passages:
        raise DataError(f"probe set '{name}': none of its {len(rows)} rows gives a passage of two tokens")
    return ProbeSet(name=name, passages=passages, about=f"{len(passages)} of {len(rows)} rows")


def _passage(row: Row, source: str, tokenizer: "PreTrainedTokenizerFast", length: int) -> Passage:
    bos = bos_of(tokenizer)
    if isinstance(row, str):
        ids, offsets = encode(tokenizer, row)
        room = max(length - bos.added_to(ids), 1)
        ids, offsets = ids[:room], offsets[: room + 1]
        text = row.encode()[: int(offsets[-1])].decode("utf-8", "ignore")
        return bos.before(
            Passage(
                text=text, token_ids=ids, byte_offsets=offsets, source=source, supervised=np.ones(len(ids), dtype=bool)
            )
        )
    if "input_ids" not in row:
        raise DataError(f"probe set row {source}: give texts, or rows with input_ids; this one has {sorted(row)}")
    ids = np.asarray(row["input_ids"], dtype=np.int32).reshape(-1)
    keep = np.asarray(row.get("attention_mask", np.ones(len(ids))), dtype=bool).reshape(-1)
    labels = np.asarray(row.get("labels", ids), dtype=np.int64).reshape(-1)
    ids, labels = ids[keep][:length], labels[keep][:length]
    before = len(bos.token_ids) - bos.added_to(ids)  # as many stand there already
    text, offsets = _read_back(ids[before:], tokenizer)
    supervised = (labels != -100) & (np.arange(len(ids)) >= before)
    offsets = np.concatenate([np.zeros(before, dtype=np.int32), offsets])
    return Passage(
        text=text, token_ids=ids, byte_offsets=offsets, source=source, supervised=supervised, bos_tokens=before
    )


def bos_of(tokenizer: "PreTrainedTokenizerFast") -> Bos:
    """What stands before texts in a loop that is not ours: what the tokenizer adds when it is called."""
    return decide(None, tokenizer, "pretrained")


def _read_back(ids: np.ndarray, tokenizer: "PreTrainedTokenizerFast") -> tuple[str, np.ndarray]:
    """Text and byte offsets of token ids: exact if encoding the text gives the ids back, else by decoding each id."""
    text = str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    again, offsets = encode(tokenizer, text)
    if np.array_equal(again, ids):
        return text, offsets
    pieces = [str(tokenizer.decode([int(i)], clean_up_tokenization_spaces=False)) for i in ids]
    widths = [len(piece.encode()) for piece in pieces]
    return "".join(pieces), np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
