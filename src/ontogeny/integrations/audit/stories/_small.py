"""Models and text that a story can train on in seconds: bytes of Python's own documentation."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.data.corpora.python_prose import PythonProse

if TYPE_CHECKING:
    from torch import Tensor

VOCABULARY = 256
LENGTH = 48


def tiny_model(
    *, width: int, seed: int, vocabulary: int = VOCABULARY, end: int | None = None, dropout: float = 0.0
) -> Any:
    """GPT-NeoX of two layers; `end` is the id of its end token, `dropout` the rate behind attention and MLP."""
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig

    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=4 * width,
        max_position_embeddings=256,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        hidden_dropout=dropout,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config)


@cache
def prose() -> str:
    """Some of Python's documentation."""
    return "\n".join(document.text for document in PythonProse().read())[:200_000]


def byte_windows(count: int, *, batch: int, seed: int) -> "Iterator[Tensor]":
    """Batches int64 [batch, LENGTH] of bytes at random places."""
    import torch

    text = np.frombuffer(prose().encode(), dtype=np.uint8).astype(np.int64)
    random = np.random.default_rng(seed)
    for _ in range(count):
        starts = random.integers(len(text) - LENGTH, size=batch)
        yield torch.from_numpy(text[starts[:, None] + np.arange(LENGTH)])
