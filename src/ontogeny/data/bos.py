"""What stands before a text: the one place that decides it, for passages, prompts and probes.

Many tokenizers put a token before every text that a model reads (BOS, beginning of sequence). A model that was trained
with it predicts badly without it, most of all at the beginning of a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ontogeny.core.errors import DataError
from ontogeny.core.json_types import Json
from ontogeny.core.passages import Passage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Bos:
    """The tokens that stand before every text, and why."""

    token_ids: tuple[int, ...] = ()
    """Usually one or none; some tokenizers add two."""
    why: str = "nothing was recorded about it"

    def before(self, passage: Passage) -> Passage:
        """The passage with these tokens in front, which cover no bytes and are never predicted.

        A passage that begins with them already, as a chat template may spell them out, is returned as it is.
        """
        count = self.added_to(passage.token_ids)
        if not count:
            return passage
        return replace(
            passage,
            token_ids=self.with_ids(passage.token_ids),
            byte_offsets=np.concatenate([np.zeros(count, dtype=np.int32), passage.byte_offsets]),
            supervised=np.concatenate([np.zeros(count, dtype=bool), passage.supervised]),
            bos_tokens=count,
        )

    def with_ids(self, token_ids: np.ndarray) -> np.ndarray:
        """Token ids of a text, int32 `[n]`, with these in front unless they stand there."""
        in_front = self.token_ids[: self.added_to(token_ids)]
        return np.concatenate([np.array(in_front, dtype=np.int32), token_ids])

    def added_to(self, token_ids: np.ndarray) -> int:
        """How many tokens come to stand before a text with these ids."""
        count = len(self.token_ids)
        return 0 if tuple(token_ids[:count].tolist()) == self.token_ids else count

    def described(self, tokenizer: "PreTrainedTokenizerBase") -> Json:
        """For the provenance: ids, tokens, and why."""
        tokens = [str(tokenizer.convert_ids_to_tokens(token_id)) for token_id in self.token_ids]
        return {"token_ids": list(self.token_ids), "tokens": tokens, "why": self.why}


FROM_SCRATCH = Bos(why="training starts from scratch, on passages as they are packed")

Trained = Bos | Literal["pretrained"]
"""What a model was trained with: what an earlier run recorded, or what the tokenizer of a pretrained model adds."""


def decide(asked: bool | None, tokenizer: "PreTrainedTokenizerBase", trained: Trained) -> Bos:
    """What stands before the texts of a run. `asked`: the recipe's `data.bos`; None leaves it as the model was trained.

    Raises DataError if it is asked for and the tokenizer has no such token.
    """
    if asked is None:
        if trained != "pretrained":
            return trained
        token_ids = added_by(tokenizer)
        return Bos(token_ids=token_ids, why=f"the model's tokenizer adds {'it' if token_ids else 'none'}")
    if not asked:
        return Bos(why="the recipe says bos: false")
    token_ids = added_by(tokenizer)
    if not token_ids and tokenizer.bos_token_id is None:
        raise DataError("data.bos is true, and the tokenizer has no BOS token: leave bos out, or set its bos_token")
    return Bos(token_ids=token_ids or (int(tokenizer.bos_token_id),), why="the recipe says bos: true")


def added_by(tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """The ids that the tokenizer puts before a text."""
    plain = list(tokenizer.encode("a", add_special_tokens=False))
    whole = list(tokenizer.encode("a"))
    places = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
    return tuple(map(int, whole[: places[0]])) if plain and places else ()


def recorded(data: Mapping[str, object]) -> Bos:
    """What a run's provenance (its part `data`) says; nothing stood before the texts of runs that say nothing."""
    described = data.get("bos")
    if not isinstance(described, Mapping):
        return Bos()
    return Bos(token_ids=tuple(map(int, described["token_ids"])), why=str(described["why"]))
