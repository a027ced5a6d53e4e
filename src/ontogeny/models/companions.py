"""Frozen models beside the trained one: loaded, kept from training, run on the same passages."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.passages import Passage
from ontogeny.core.terms import ModelShape, Spelling
from ontogeny.data.bos import Bos, added_by
from ontogeny.data.collate import collate
from ontogeny.data.tokenizer import encode_batch, end_of_text_id, token_bytes
from ontogeny.models.body_and_head import BodyAndHead, shape_of
from ontogeny.models.weights import effective_weights, fingerprint

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_ORIGIN = frozenset({"transformers_version", "architectures", "dtype", "torch_dtype", "name_or_path"})


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A frozen model that loss terms read: in evaluation mode, without gradients, in no optimizer and no checkpoint."""

    name: str
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast | None"
    """Its own; None where it is the trained model's."""
    described: Mapping[str, Any]
    """For the provenance: where it came from, fingerprints of weights and tokenizer, number of parameters."""
    trained_with: "PreTrainedTokenizerFast | None" = None
    """The trained model's tokenizer."""

    @property
    def shape(self) -> ModelShape:
        """Its sizes."""
        return shape_of(self.model)

    @cached_property
    def body_and_head(self) -> BodyAndHead:
        """It in two parts, so that logits can be had by the position. Raises NotCausalError as `BodyAndHead` does."""
        return BodyAndHead(self.model)

    @property
    def token_bytes(self) -> tuple[Spelling, Spelling]:
        """What the ids of the trained model's tokenizer and of its own spell. Raises DataError if it knows neither."""
        if self.trained_with is None:
            raise DataError(f"the companion '{self.name}' was made without the trained model's tokenizer")
        ours = token_bytes(self.trained_with, len(self.trained_with))
        return ours, ours if self.tokenizer is None else token_bytes(self.tokenizer, len(self.tokenizer))

    def read(self, batch: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """The batch as it reads it: the same, or the passages' text in its own tokens.

        Raises DataError if a passage is longer than its context.
        """
        if self.tokenizer is None:
            return batch
        passages: Sequence[Passage] = getattr(batch, "passages", ())
        if not passages:
            raise DataError(f"the companion '{self.name}' has a tokenizer of its own and needs the passages' text")
        own = retokenized(passages, self.tokenizer)
        self.check_lengths(own)
        return collate(own, self.tokenizer.pad_token_id or 0).to(batch["input_ids"].device)

    def check(self, passages: Sequence[Passage], vocabulary: int) -> None:
        """Raise DataError if it cannot read these passages, tokenized for a model of that vocabulary."""
        self.check_lengths(passages if self.tokenizer is None else retokenized(passages, self.tokenizer))
        if self.tokenizer is None and vocabulary > self.shape.vocabulary:
            raise DataError(
                f"the companion '{self.name}' knows {self.shape.vocabulary} token ids, the tokenizer has {vocabulary}"
            )

    def check_lengths(self, passages: Sequence[Passage]) -> None:
        """Raise DataError if a passage has more tokens than its context holds."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        longest = max(passages, key=len)
        if limit is not None and len(longest) > limit:
            raise DataError(
                f"passage {longest.source} has {len(longest)} tokens for the companion '{self.name}', whose context "
                f"holds {limit}: write a shorter data.length"
            )


def freeze(
    name: str,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    trained_with: "PreTrainedTokenizerFast",
    origin: Mapping[str, Any],
) -> Companion:
    """A loaded model as a companion of one that is trained with another tokenizer, or the same."""
    model.requires_grad_(False)
    model.eval()
    model.train = lambda mode=True: model  # type: ignore[method-assign] # stays in evaluation mode
    own, theirs = tokenizer_sha256(tokenizer), tokenizer_sha256(trained_with)
    described = {
        **origin,
        "weights_sha256": fingerprint(effective_weights(model)),
        "config_sha256": config_sha256(model),
        "tokenizer_sha256": own,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    own_tokenizer = None if own == theirs else tokenizer
    return Companion(name=name, model=model, tokenizer=own_tokenizer, described=described, trained_with=trained_with)


def config_sha256(model: "PreTrainedModel") -> str:
    """SHA-256, in hex, of what a model makes of its weights: all settings that are not the defaults of its kind.

    Where it was loaded from, and by which version, does not count.
    """
    settings = model.config.to_diff_dict()
    counting = {key: value for key, value in settings.items() if key not in _ORIGIN and not key.startswith("_")}
    return hashlib.sha256(json.dumps(counting, sort_keys=True, default=str).encode()).hexdigest()


def tokenizer_sha256(tokenizer: "PreTrainedTokenizerFast") -> str:
    """SHA-256 of all that a tokenizer does, in hex."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def retokenized(passages: Sequence[Passage], tokenizer: "PreTrainedTokenizerFast") -> list[Passage]:
    """The same texts in another tokenizer's tokens; a token is supervised if the byte that it begins with was.

    Where a passage has a token of no bytes (end of text), this tokenizer's stands; and what it adds before a text
    stands before those before which something stands.
    """
    bos = Bos(token_ids=added_by(tokenizer)) if any(passage.bos_tokens for passage in passages) else Bos()
    begun = [passage.bos_tokens > 0 for passage in passages]
    passages = [_without_bos(passage) for passage in passages]
    pieces = [_between_ends(passage) for passage in passages]
    encoded = iter(encode_batch(tokenizer, [piece for own in pieces for piece in own]))
    again = [
        _retokenized(passage, [next(encoded) for _ in own], end_of_text_id(tokenizer) if len(own) > 1 else -1)
        for passage, own in zip(passages, pieces, strict=True)
    ]
    return [bos.before(passage) if begins else passage for passage, begins in zip(again, begun, strict=True)]


def _without_bos(passage: Passage) -> Passage:
    first = passage.bos_tokens
    return replace(
        passage,
        token_ids=passage.token_ids[first:],
        byte_offsets=passage.byte_offsets[first:],
        supervised=passage.supervised[first:],
        bos_tokens=0,
    )


def _between_ends(passage: Passage) -> list[str]:
    """The text between tokens that cover no bytes: ends of text. One piece more than there are such tokens."""
    content = passage.text.encode()
    ends = passage.byte_offsets[:-1][np.diff(passage.byte_offsets) == 0]
    edges = [0, *ends.tolist(), len(content)]
    return [content[start:stop].decode() for start, stop in pairwise(edges)]


def _retokenized(passage: Passage, pieces: Sequence[tuple[np.ndarray, np.ndarray]], end: int) -> Passage:
    """Encoded pieces joined, with `end` between them; supervised as the bytes and the ends of the passage are."""
    widths = np.diff(passage.byte_offsets)
    of_bytes = np.append(np.repeat(passage.supervised, widths), False)
    of_ends = passage.supervised[widths == 0]
    ids: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    supervised: list[np.ndarray] = []
    at = 0
    for i, (piece_ids, offsets) in enumerate(pieces):
        ids.append(piece_ids)
        starts.append(offsets[:-1] + at)
        supervised.append(of_bytes[np.minimum(starts[-1], len(of_bytes) - 1)])
        at += int(offsets[-1])
        if i < len(of_ends):
            ids.append(np.array([end], dtype=np.int32))
            starts.append(np.array([at]))
            supervised.append(of_ends[i : i + 1])
    return replace(
        passage,
        token_ids=np.concatenate(ids).astype(np.int32),
        byte_offsets=np.append(np.concatenate(starts), at).astype(np.int32),
        supervised=np.concatenate(supervised).astype(bool),
    )
