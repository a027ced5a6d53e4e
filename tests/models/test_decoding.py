"""Greedy decoding in batches equals decoding one by one, for positions learned and turned, up to the last of them."""

from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.models.decoding import continue_greedily
from tests.measures.small import ByteTokenizer, make_model

CONTEXT = 64


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=CONTEXT, vocab_size=300, bos_token_id=0, eos_token_id=0)
    )


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=64,
            vocab_size=300,
            max_position_embeddings=CONTEXT,
        )
    )


@pytest.mark.parametrize("make", [gpt2, llama, make_model])
@pytest.mark.parametrize("batch_tokens", [100, 10_000])
def test_equals_decoding_one_by_one(make: Any, batch_tokens: int) -> None:
    """Every text is written up to the end of the context: one more token would have no learned position."""
    model = make().eval()
    random = np.random.default_rng(0)
    prompts = [random.integers(0, 300, length) for length in (20, 50, 63, 40, 10, 64)]
    counts = [CONTEXT - len(prompt) for prompt in prompts]
    written = continue_greedily(model, ByteTokenizer(), prompts, counts, batch_tokens)
    for prompt, count, text in zip(prompts, counts, written, strict=True):
        ids = prompt.tolist()
        with torch.no_grad():
            for _ in range(count):
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        assert text.tolist() == ids[len(prompt) :]
