"""The size ladder."""

from typing import Any, get_args

import pytest
import torch

from ontogeny.models.sources.ladder import Ladder, Size


class Tokenizer:
    bos_token_id = eos_token_id = pad_token_id = 7

    def __init__(self, size: int = 2048) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


def context(**changes: Any) -> Any:
    from ontogeny.models.build import LoadContext

    return LoadContext(**({"tokenizer": Tokenizer(), "length": 128, "seed": 0} | changes))


@pytest.mark.parametrize(("size", "millions"), [("pico", 0.11), ("nano", 0.36), ("micro", 1.32), ("mini", 5.79)])
def test_sizes_at_a_vocabulary_of_2048(size: Size, millions: float) -> None:
    model = Ladder(size=size).load(context())
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_pythia_70m_has_its_size_and_its_part_without_embeddings() -> None:
    """Pythia's paper: 18,915,328 parameters without embeddings at width 512 and 6 blocks."""
    with torch.device("meta"):
        model = Ladder(size="70m").load(context(tokenizer=Tokenizer(50304)))
    embeddings = 2 * 50304 * 512
    assert sum(p.numel() for p in model.parameters()) - embeddings == 18_915_328


def test_weights_are_drawn_from_the_seed() -> None:
    one, same, other = (Ladder(size="pico").load(context(seed=seed)) for seed in (0, 0, 1))
    pairs = list(zip(one.parameters(), same.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_special_tokens_are_the_tokenizers() -> None:
    config = Ladder(size="pico").load(context()).config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (7, 7, 7)


def test_dropout_and_context_length() -> None:
    model = Ladder(size="pico", context_length=512).load(context(dropout=0.1))
    assert model.config.max_position_embeddings == 512
    assert model.config.hidden_dropout == 0.1
    assert len(get_args(Size)) == 14
