"""Passages side by side in one tensor."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.passages import Passage

if TYPE_CHECKING:
    from torch import Tensor


def collate(passages: Sequence[Passage], pad_id: int) -> "dict[str, Tensor]":
    """Pad on the right to the longest passage.

    Returns `input_ids` and `attention_mask`, int64 `[B, T]`, and `supervised`, bool `[B, T]`: targets that the training
    loss counts, never position 0 (nothing predicts it), never padding.
    """
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
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
