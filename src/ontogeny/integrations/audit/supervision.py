"""Which tokens are supervised, and with what: read off the gradient at the logits, whoever computed it."""

from dataclasses import replace

import numpy as np

from ontogeny.integrations.audit.observed import Markers
from ontogeny.integrations.audit.recording import ForwardRecord, Recording
from ontogeny.integrations.audit.rerun_batches import not_padding

NEGLIGIBLE = 0.1
"""Share of the typical weight below which a target is no target, but a trace of another term."""


def supervised(seen: Recording, *, misfit: float = 1.0) -> list[ForwardRecord]:
    """Looked-at forward passes over token ids whose gradient at the logits was seen, and fits a cross entropy."""
    return [
        one
        for one in seen.forwards
        if one.input_ids is not None
        and one.targets is not None
        and one.targets.misfit <= misfit
        and (one.targets.ids >= 0).any()
        and not one.time_first
    ]


def next_tokens(seen: Recording) -> bool:
    """Are most targets the next tokens of the input? Those of a masked model or of a tagger are not."""
    hit, count = shifted_matches(supervised(seen), 1)
    return hit >= 0.5 * count > 0


NO_GRADIENT = "a backward pass through logits [batch, time, vocabulary] of a model that is given token ids"


def shifted_matches(looked: list[ForwardRecord], shift: int) -> tuple[int, int]:
    """How many targets are the token `shift` places on, among those that have one."""
    hit = count = 0
    for one in looked:
        assert one.input_ids is not None
        assert one.targets is not None
        ids = one.input_ids
        targets, moved = one.targets.ids[:, max(-shift, 0) :], ids[:, max(shift, 0) :]
        wide = min(targets.shape[1], moved.shape[1])
        targets, moved = targets[:, :wide], moved[:, :wide]
        pulled = targets >= 0
        hit += int((pulled & (targets == moved)).sum())
        count += int(pulled.sum())
    return hit, count


def real_tokens(one: ForwardRecord, markers: Markers | None = None) -> np.ndarray:
    """Which tokens are not padding: bool [B, T], as the mask says; all without one.

    With markers whose padding is an end of text: the first of it behind a text that does not end so is its end, though
    a mask made of ids hides it.
    """
    assert one.input_ids is not None
    if one.attention_mask is None:
        return np.ones_like(one.input_ids, dtype=bool)
    real = one.attention_mask > 0
    if markers is None or markers.pad not in markers.ends:
        return real
    ids, ends = one.input_ids, np.isin(one.input_ids, list(markers.ends))
    behind = np.zeros_like(real)
    behind[:, 1:] = real[:, :-1] & ~ends[:, :-1] & ~real[:, 1:] & (ids[:, 1:] == markers.pad)
    return real | behind


def without_padding(looked: list[ForwardRecord], markers: Markers) -> list[np.ndarray]:
    """`real_tokens` of each forward pass; where no mask is given, or one that masks nothing, by the padding token.

    Runs of it behind a text are told from text by their length of 2 or more (behind the end of text, where it is the
    same token), in two rows or more. Where it is another token, it must stand nowhere inside the texts.
    """
    known = [real_tokens(one, markers) for one in looked]
    if markers.pad is None:
        return known
    maskless = [one.attention_mask is None or bool((one.attention_mask > 0).all()) for one in looked]
    guessed = [
        not_padding(replace(one, attention_mask=None), markers) if guess and one.position_ids is None else real
        for one, real, guess in zip(looked, known, maskless, strict=True)
    ]
    rows = inside = 0
    for one, real, guess in zip(looked, guessed, maskless, strict=True):
        if guess and one.input_ids is not None:
            rows += int(((~real[:, -2:]).all(axis=1) | (~real[:, :2]).all(axis=1)).sum())
            inside += int((real & (one.input_ids == markers.pad)).sum())
    return guessed if rows >= 2 and (not inside or markers.pad in markers.ends) else known
