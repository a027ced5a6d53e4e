"""Tokenizers, trained here or loaded; encoding text to token ids and the bytes that each token covers."""

import os
import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ontogeny.core.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"
_FORMS = ("tokenizer*", "vocab*", "*.model")
"""Files of a tokenizer. From a directory without any, transformers would silently load an empty tokenizer."""
_BATCH_CHARS = 4_000_000

Encoded = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Token ids `[n]` and byte offsets `[n + 1]` of one text; see `encode_batch`."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> "PreTrainedTokenizerFast":
    """Train a byte-level BPE (Radford et al. 2019) on texts.

    The vocabulary holds `<|endoftext|>` (id 0; it is bos, eos and pad), the 256 bytes, and merges; it has fewer than
    `vocab_size` entries if the texts give no more merges. The same texts give the same tokenizer, whatever the number
    of threads. Encoding adds no special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(path: str, revision: str | None = None) -> "PreTrainedTokenizerFast":
    """Load a tokenizer from a local directory or a hub id, at a revision.

    A tokenizer without a padding token gets its end-of-text token for it. Raises DataError if there is no tokenizer, or
    if it is not a fast one: only these give the offsets of tokens in the text.
    """
    from transformers import AutoTokenizer

    if looks_local(path) and not Path(path).is_dir():
        raise DataError(f"no tokenizer at '{path}': there is no such directory")
    if Path(path).is_dir() and not any(file for form in _FORMS for file in Path(path).glob(form)):
        raise DataError(f"no tokenizer at '{path}': the directory has no tokenizer.json; save the tokenizer there, too")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path, revision=revision or "main")
    except (OSError, ValueError, KeyError) as error:
        reason = re.split(r"(?<=[.:])\s|\n", str(error).strip(), maxsplit=1)[0]
        raise DataError(
            f"no tokenizer at '{path}': name a directory with tokenizer.json, or a hub id ({reason})"
        ) from None
    if not tokenizer.is_fast:
        raise DataError(f"the tokenizer at '{path}' has no tokenizer.json: convert it to a fast tokenizer first")
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return cast("PreTrainedTokenizerFast", tokenizer)


def looks_local(path: str) -> bool:
    """Can this only be a path on this machine, and not the name of a hub repository?"""
    if path.startswith((".", "~")) or Path(path).is_absolute():
        return True
    return len(Path(path).parts) > 2 or (os.sep in path and Path(path).parent.is_dir())


def end_of_text_id(tokenizer: "PreTrainedTokenizerFast") -> int:
    """Id of the end-of-text token. Raises DataError if the tokenizer has none."""
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-text token: set its eos_token")
    return int(tokenizer.eos_token_id)


def encode(tokenizer: "PreTrainedTokenizerFast", text: str) -> Encoded:
    """Encode one text; see `encode_batch`."""
    return encode_batch(tokenizer, [text])[0]


def encode_batch(tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str]) -> list[Encoded]:
    """Encode texts to ids (int32 `[n]`) and byte offsets (int32 `[n + 1]`); no special token is added.

    Token i covers the UTF-8 bytes `offsets[i]:offsets[i + 1]` of its text. For byte-level tokenizers these are exactly
    the bytes that the token stands for, even inside a multi-byte character. For others the boundaries come from the
    tokenizer's character offsets: white space that it drops belongs to the next token, and tokens that share a
    character split its bytes. A special token that is spelled out in the text is encoded as that token.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    spelled = token_bytes(tokenizer, len(tokenizer))
    results: list[Encoded] = []
    for batch in _batches(texts):
        for text, encoding in zip(batch, backend.encode_batch_fast(batch, add_special_tokens=False), strict=True):
            encoded = _encode_by_bytes(text, encoding.ids, spelled)
            # encode_batch_fast gives no character offsets, so a text that needs them is encoded again
            results.append(encoded or _encode_by_characters(text, backend.encode(text, add_special_tokens=False)))
    return results


def _batches(texts: Sequence[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_by_bytes(text: str, ids: list[int], spelled: Sequence[bytes | None]) -> Encoded | None:
    """Exact boundaries if the tokens' bytes, concatenated, are the text; else None."""
    pieces = [piece for i in ids if (piece := spelled[i]) is not None]
    if len(pieces) < len(ids) or b"".join(pieces) != text.encode():
        return None
    offsets = np.zeros(len(ids) + 1, dtype=np.int32)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    return np.array(ids, dtype=np.int32), offsets


def _encode_by_characters(text: str, encoding: "Encoding") -> Encoded:
    """Boundaries from the tokenizer's character offsets, extended to cover the text without gaps."""
    widths = [len(character.encode()) for character in text]
    byte_at = np.concatenate([[0], np.cumsum(widths, dtype=np.int64)])
    spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    count = len(spans)
    offsets = np.zeros(count + 1, dtype=np.int64)
    first = 0
    while first < count:
        last = first  # tokens first to last have the same character range
        while last + 1 < count and (spans[last + 1] == spans[first]).all():
            last += 1
        start, end = offsets[first], max(byte_at[spans[first, 1]], offsets[first])
        shares = np.arange(1, last - first + 2) * (end - start) // (last - first + 1)
        offsets[first + 1 : last + 2] = start + shares
        first = last + 1
    if count:
        offsets[-1] = byte_at[-1]
    return np.array(encoding.ids, dtype=np.int32), offsets.astype(np.int32)


@lru_cache(maxsize=8)
def token_bytes(tokenizer: "PreTrainedTokenizerFast", size: int) -> tuple[bytes | None, ...]:
    """The bytes of every id, decoded from byte-level symbols (added tokens: as spelled); None where impossible."""
    alphabet = byte_symbols()
    added = {i: token.content.encode() for i, token in tokenizer.added_tokens_decoder.items()}
    table: list[bytes | None] = []
    for i in range(max([size, *(i + 1 for i in added)])):
        token = tokenizer.backend_tokenizer.id_to_token(i)
        if i in added:
            table.append(added[i])
        elif token is not None and all(symbol in alphabet for symbol in token):
            table.append(bytes(alphabet[symbol] for symbol in token))
        else:
            table.append(None)
    return tuple(table)


@cache
def byte_symbols() -> dict[str, int]:
    """The 256 printable symbols with which byte-level BPE spells bytes (Radford et al. 2019): symbol -> byte.

    Bytes that are printable in Latin-1 stand for themselves; the others take the code points from 256 on, in order.
    """
    themselves = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in themselves]
    return {chr(byte): byte for byte in sorted(themselves)} | {chr(256 + i): byte for i, byte in enumerate(others)}
