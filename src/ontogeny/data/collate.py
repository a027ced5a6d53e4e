"""Passages side by side in tensors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.passages import Passage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SIDE = "side/"
"""Begins the key of a side input in a batch."""


class Batch(dict[str, "Tensor"]):
    """Tensors by name, and the passages that they were made of.

    `input_ids` and `attention_mask`, int64 `[B, T]`; `supervised`, bool `[B, T]`: targets that the training loss
    counts, never position 0 (nothing predicts it), never padding; `side/<name>`, float32 `[B, n, d]`: a side input,
    padded with zeros to the largest n.
    """

    def __init__(self, tensors: "dict[str, Tensor]", passages: Sequence[Passage]) -> None:
        super().__init__(tensors)
        self.passages = passages

    def to(self, device: "torch.device | str") -> "Batch":
        """The same on another device."""
        return Batch({name: tensor.to(device) for name, tensor in self.items()}, self.passages)

    @property
    def sides(self) -> "dict[str, Tensor]":
        """Side inputs by name."""
        return sides_of(self)


def sides_of(batch: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Side inputs by name, float32 [B, n, d] each."""
    return {key.removeprefix(SIDE): tensor for key, tensor in batch.items() if key.startswith(SIDE)}


def collate(passages: Sequence[Passage], pad_id: int) -> Batch:
    """Pad on the right to the longest passage. Raises KeyError if only some passages carry a side input."""
    import torch

    shape = (len(passages), max(len(p) for p in passages))
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    supervised = np.zeros(shape, dtype=bool)
    for row, passage in enumerate(passages):
        input_ids[row, : len(passage)] = passage.token_ids
        attention_mask[row, : len(passage)] = 1
        supervised[row, 1 : len(passage)] = passage.supervised[1:]
    arrays = {"input_ids": input_ids, "attention_mask": attention_mask, "supervised": supervised}
    for name in {name: None for passage in passages for name in passage.sides}:
        arrays[SIDE + name] = stacked([passage.sides[name] for passage in passages])
    return Batch({name: torch.from_numpy(array) for name, array in arrays.items()}, passages)


def stacked(sides: Sequence[np.ndarray]) -> np.ndarray:
    """float32 [B, n, d] of arrays [n, d], zeros where one has fewer rows."""
    stacked = np.zeros((len(sides), max(len(side) for side in sides), sides[0].shape[1]), dtype=np.float32)
    for row, side in enumerate(sides):
        stacked[row, : len(side)] = side
    return stacked
