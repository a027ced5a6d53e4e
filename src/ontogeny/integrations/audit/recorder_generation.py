"""What generation starts from and where it may stop: padding of the prompts, and the ids that mean something."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ontogeny.integrations.audit.seen import Generation, SpecialIds

MOST_LOOKS = 64
"""Forward passes of generation that are looked at."""
_NAMES = ("bos_token_id", "eos_token_id", "pad_token_id")


def see_pass(found: Generation, given: Mapping[str, Any], *, training: bool) -> None:
    """Look at a forward pass without gradients: is it a step of generation, and how are its prompts padded?"""
    found.passes += 1
    found.passes_in_training_mode += training
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
