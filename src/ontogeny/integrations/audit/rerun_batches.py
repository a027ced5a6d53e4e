"""Batches that are kept to be run again: their arguments, which of their tokens are real, and where documents begin."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.observed import Markers
from ontogeny.integrations.audit.reading import token_ids
from ontogeny.integrations.audit.recorder_generation import special_ids
from ontogeny.integrations.audit.recording import ForwardRecord

if TYPE_CHECKING:
    from torch import Tensor

LEAST_SECOND = 4
"""Tokens of a document behind another one."""
IGNORED = frozenset(
    {
        "labels",
        "targets",
        "shift_labels",
        "num_items_in_batch",
        "return_dict",
        "return_loss",
        "logits_to_keep",
        "fused_lm_head",
        "output_attentions",
        "output_hidden_states",
    }
)
"""Arguments that do not change logits."""
TAKEN = ("attention_mask", "position_ids")


@dataclass(kw_only=True)
class RerunBatch:
    """Arguments of a forward pass [B, T], without those that do not change logits."""

    name: str
    """Of the argument that takes the ids."""
    ids: "Tensor"
    mask: "Tensor | None"
    positions: "Tensor | None"
    real: np.ndarray
    """bool [B, T]: not padding."""
    settings: Mapping[str, Any]
    """Arguments that are no tensors, as they were: `use_cache`, without which some models heed packed positions."""
    others: Mapping[str, Any]
    """Further tensors, and whatever may hold some; with these, rows cannot be told apart."""
    forward: ForwardRecord
    """The pass that it was given to."""

    @property
    def plain(self) -> bool:
        """Is it ids, mask and positions [B, T], and nothing else?"""
        return not self.others and all(one is None or one.ndim == 2 for one in (self.mask, self.positions))

    def rows(self, number: int) -> "RerunBatch":
        """The first rows; all, where they cannot be told apart."""
        return self if self.others else self.part(slice(0, number), slice(None))

    def part(self, rows: slice, places: slice) -> "RerunBatch":
        """Some rows and places; a mask of other axes than [B, T] keeps its places."""
        mask = self.mask if self.mask is None else self.mask[rows] if self.mask.ndim != 2 else self.mask[rows, places]
        positions = None if self.positions is None else self.positions[rows, places]
        return replace(self, ids=self.ids[rows, places], mask=mask, positions=positions, real=self.real[rows, places])


def batch_of(forward: ForwardRecord, given: Mapping[str, Any], markers: Markers) -> RerunBatch | None:
    """A copy of what a forward pass was called with; None where its ids are a decoder's own."""
    assert forward.input_ids is not None
    ids = token_ids(given, forward.input_ids.shape, decoder=False)
    if ids is None:
        return None
    name = next((name for name, value in given.items() if value is ids), "")
    rest = {one: value for one, value in given.items() if one not in (name, *TAKEN, *IGNORED)}
    rest = {one: value for one, value in rest.items() if value is not None}
    settings = {one: value for one, value in rest.items() if _is_setting(value)}
    others = {
        one: value.detach().clone() if hasattr(value, "detach") else value
        for one, value in rest.items()
        if one not in settings
    }
    mask, positions = (None if given.get(one) is None else given[one].detach().clone() for one in TAKEN)
    return RerunBatch(
        name=name,
        ids=ids.detach().clone(),
        mask=mask,
        positions=positions,
        settings=settings,
        others=others,
        real=not_padding(forward, markers),
        forward=forward,
    )


def _is_setting(value: Any) -> bool:
    """Is it a number, a word or the like, or made of these? A state or a cache is not, and changes as it is used."""
    if isinstance(value, Mapping | list | tuple):
        return all(_is_setting(one) for one in (value.values() if isinstance(value, Mapping) else value))
    return value is None or isinstance(value, bool | int | float | str)


def markers_of(model: Any, tokenizer: Any) -> Markers:
    """What marks begin and end of a text, and padding. Ends that only the generation config names must be markers."""
    found = special_ids(model, tokenizer)
    where = "config" if tokenizer is None else "tokenizer"
    (begin, *_), (pad, *_) = ((*found.given.get((where, name), ()), None) for name in ("bos", "pad"))
    generation = found.given.get(("generation_config", "eos"), ())
    ends = {*found.given.get((where, "eos"), ()), *(one for one in generation if one not in found.ordinary)}
    return Markers(begin=begin, ends=frozenset(ends), pad=pad)


def not_padding(forward: ForwardRecord, markers: Markers) -> np.ndarray:
    """Which tokens are no padding: bool [B, T]. As the mask says; without one, all but runs of the pad id at the ends.

    Where padding and end of text are one token, and no mask is given, the first of the run behind the text is its end.
    """
    assert forward.input_ids is not None
    if forward.attention_mask is not None:
        return forward.attention_mask > 0
    pads = forward.input_ids == markers.pad
    inner = ~(np.logical_and.accumulate(pads, axis=1) | np.logical_and.accumulate(pads[:, ::-1], axis=1)[:, ::-1])
    if markers.pad in markers.ends:
        inner[:, 1:] |= inner[:, :-1] & pads[:, 1:]
    return inner


def second_documents(batch: RerunBatch, markers: Markers) -> list[tuple[int, int, int]]:
    """(row, first place, place behind) of the second document of each row that holds several.

    Documents are told by position ids that begin anew; else by an end of text inside a row, where no row has padding
    (the turns of a conversation end so, too, but conversations are seldom all of one length).
    """
    ids = batch.ids.cpu().numpy()
    found = []
    for row in range(len(ids)):
        if batch.positions is not None:
            starts = np.flatnonzero((batch.positions[row].cpu().numpy() == 0) & batch.real[row])
        elif batch.real.all() and len(ids[row]) > 2 * LEAST_SECOND:
            starts = np.append(0, np.flatnonzero(np.isin(ids[row], list(markers.ends))) + 1)
        else:
            continue
        behind = np.append(starts, batch.real[row].nonzero()[0].max(initial=-1) + 1)
        spans = [(int(a), int(b)) for a, b in pairwise(behind[1:]) if b - a >= LEAST_SECOND]
        if spans and spans[0][0] >= 2:
            found.append((row, *spans[0]))
    return found
