"""Tiny models of many families, and models of no known architecture, over the vocabulary of `loops`."""

from typing import Any

import torch
from torch import nn

from tests.audit.loops import END, PAD, VOCABULARY

_SHAPE: dict[str, dict[str, Any]] = {
    "gpt_neox": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32},
    "qwen2": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    },
    "mistral": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "sliding_window": 8,
    },
    "opt": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "word_embed_proj_dim": 16,
    },
    "gemma2": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "head_dim": 8,
    },
    "cohere": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
    },
    "mixtral": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 32,
        "num_local_experts": 2,
    },
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
}
FAMILIES = tuple(_SHAPE)


def make(family: str, **settings: Any) -> Any:
    """A decoder of that family, d16, two layers, with the ids of `loops` for padding and end of text."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ids = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": PAD}
    config = AutoConfig.for_model(family, **{"vocab_size": VOCABULARY, **_SHAPE[family], **ids, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config)


def make_t5() -> Any:
    """An encoder-decoder, d16."""
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=16,
        d_ff=32,
        d_kv=8,
        num_layers=2,
        num_heads=2,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return T5ForConditionalGeneration(config)


class Plain(nn.Module):
    """Of no known architecture: a recurrent net over ids; `form` is what it returns its logits in."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.body = nn.GRU(16, 16, batch_first=True)
        self.out = nn.Linear(16, VOCABULARY)

    def forward(self, idx: torch.Tensor) -> Any:
        hidden = self.body(self.embed(idx))[0]
        logits = self.out(hidden)
        if self.form == "flat":
            return logits.flatten(0, 1)
        return {"tensor": logits, "tuple": (logits, hidden), "dict": {"scores": logits, "hidden": hidden}}[self.form]
