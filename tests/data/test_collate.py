import numpy as np
import torch

from ontogeny.core.passages import Passage
from ontogeny.data.collate import collate


def passage(ids: list[int], supervised: list[bool]) -> Passage:
    n = len(ids)
    return Passage(
        text="x" * n,
        token_ids=np.array(ids, dtype=np.int32),
        byte_offsets=np.arange(n + 1, dtype=np.int32),
        source="by hand",
        supervised=np.array(supervised),
    )


def test_padded_on_the_right() -> None:
    batch = collate([passage([5, 6, 7], [True, True, True]), passage([8, 9], [True, False])], pad_id=1)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    # Position 0 is predicted by nothing; the last of the second row is padding, the one before it not supervised.
    assert batch["supervised"].tolist() == [[False, True, True], [False, False, False]]
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert batch["supervised"].dtype == torch.bool


def test_a_pad_id_inside_a_passage_is_a_token_like_others() -> None:
    batch = collate([passage([1, 1, 1], [True] * 3)], pad_id=1)
    assert batch["attention_mask"].tolist() == [[1, 1, 1]]
    assert batch["supervised"].tolist() == [[False, True, True]]
