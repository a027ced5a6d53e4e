"""What generation starts from and where it may stop: padding of the prompts, and the ids that mean something."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.seen import GenerationPasses, SpecialIds

if TYPE_CHECKING:
    from torch import Tensor

MOST_LOOKS = 64
"""Forward passes of generation that are looked at."""
MOST_HELD = 64
"""Batches of a step whose ids are held until it is over."""
MOST_COMPARED = 256
"""Forward passes in training mode without gradients whose rows are compared with those of the training's."""
NEARLY = 0.3
"""Share of a row's own places at which it has the ids of another one that it was made of."""
_NAMES = ("bos_token_id", "eos_token_id", "pad_token_id")


class PassRecorder:
    """Forward passes without gradients inside the loop: those that judge the model, and steps of generation.

    A pass in training mode is part of a training step, and judges nothing, where it has the rows of a pass with
    gradients of the same step (a first guess, old probabilities), all or in most places (scheduled sampling puts
    guesses into them), or where adapters are switched off (the reference of preference training).
    """

    def __init__(self, model: Any, found: GenerationPasses) -> None:
        self.model, self.found = model, found
        self._judging: list[Tensor] = []
        self._trained: list[Tensor] = []
        self._compared = 0
        self._judged = False

    def see(self, given: Mapping[str, Any], *, training: bool) -> None:
        """Look at a pass without gradients."""
        ids = given.get("input_ids")
        self._judged |= not training
        if training and _adapters_are_off(self.model):
            return
        if training and ids is not None and self._compared < MOST_COMPARED:
            self._compared += 1
            if any(_same_rows(ids, other) for other in self._trained):
                return
            self._judging = [*self._judging[1 - MOST_HELD :], ids]
        self.found.passes += 1
        self.found.passes_in_training_mode += training
        _see_generation(self.found, given)

    def see_training(self, ids: Any, *, training: bool) -> None:
        """Look at a pass with gradients: were its rows passed before, in the same step?"""
        self.found.came_back |= training and self._judged
        if not hasattr(ids, "ndim") or self._compared >= MOST_COMPARED:
            return
        own = [one for one in self._judging if _same_rows(one, ids)]
        self._judging = [one for one in self._judging if not any(one is other for other in own)]
        self.found.passes -= len(own)
        self.found.passes_in_training_mode -= len(own)
        self._trained = [*self._trained[1 - MOST_HELD :], ids]

    def forget(self) -> None:
        """The step is over."""
        self._judging.clear()
        self._trained.clear()


def _adapters_are_off(model: Any) -> bool:
    """Is a layer's low-rank adapter (PEFT's) switched off?"""
    return any(getattr(module, "disable_adapters", None) is True for module in model.modules())


def _same_rows(some: "Tensor", of: "Tensor") -> bool:
    """Are all rows of ids [B, T] nearly among those of the other, or the other way round?

    What a row has in common with most of the other's, a template or padding, counts for nothing.
    """
    if some.ndim != 2 or of.ndim != 2 or some.shape[1] != of.shape[1] or some.device != of.device:
        return False
    share = (some[:, None] == of[None]).float().mean(dim=-1)
    common = share.median(dim=1, keepdim=True).values if len(of) > 1 else 0.0
    alike = (share == 1) | (share - common >= NEARLY * (1 - common)) & (share > common)
    return bool(alike.any(dim=1).all()) or bool(alike.any(dim=0).all())


def _see_generation(found: GenerationPasses, given: Mapping[str, Any]) -> None:
    """Is it a step of generation, and how are its prompts padded?"""
    ids, mask = given.get("input_ids"), given.get("attention_mask")
    if found.batches >= MOST_LOOKS or ids is None or mask is None or given.get("decoder_input_ids") is not None:
        return
    if ids.ndim != 2 or ids.shape[1] != 1 or len(ids) < 2 or mask.ndim != 2 or mask.shape[1] < 2:
        return
    kept = mask.detach().cpu().numpy() > 0
    found.batches += 1
    found.padded += bool((~kept).any())
    found.padded_right += bool(ends_in_padding(kept).any())


def ends_in_padding(kept: np.ndarray) -> np.ndarray:
    """Rows of a mask [B, T] that have a hidden place behind a visible one: bool [B]."""
    seen = np.logical_or.accumulate(kept, axis=1)
    found: np.ndarray = (seen & ~kept).any(axis=1)
    return found


def special_ids(model: Any, tokenizer: Any) -> SpecialIds:
    """Ids of the beginning, end and padding tokens, and which of them are ordinary tokens."""
    given: dict[tuple[str, str], tuple[int, ...]] = {}
    for where in ("config", "generation_config"):
        for name in _NAMES:
            if ids := _ids(getattr(getattr(model, where, None), name, None)):
                given[where, name[:3]] = ids
    both = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    if not hasattr(tokenizer, "all_special_ids"):
        return SpecialIds(given=given, encoder_decoder=both)
    for name in _NAMES:
        if ids := _ids(getattr(tokenizer, name, None)):
            given["tokenizer", name[:3]] = ids
    special = {int(i) for i in tokenizer.all_special_ids} | {
        int(i) for i in getattr(tokenizer, "added_tokens_decoder", ())
    }
    size = len(tokenizer)
    used = {i for ids in given.values() for i in ids}
    ordinary = {i: str(tokenizer.convert_ids_to_tokens(i)) for i in sorted(used - special) if 0 <= i < size}
    plain = [i for i in range(size - 1, max(size - 2048, -1), -1) if i not in special]
    highest = plain[0] if plain else -1
    return SpecialIds(given=given, ordinary=ordinary, size=size, last_ordinary=highest, encoder_decoder=both)


def _ids(value: Any) -> tuple[int, ...]:
    """One id, several, or none."""
    if value is None:
        return ()
    return tuple(int(i) for i in value) if isinstance(value, list | tuple) else (int(value),)
