"""Small models of every family with random weights: a new family is one line."""

from typing import Any

import torch

VOCABULARY = 300
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48}
_FEW_KEYS = {"num_key_value_heads": 2}
_EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 8}

FAMILIES: dict[str, dict[str, Any]] = {
    # plain attention: learned positions, rotary, ALiBi, shared keys, tied weights
    "gpt2": _GPT2,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8, "num_layers": 2, "num_heads": 4},
    "gpt_neox": {},
    "gptj": {**_GPT2, "rotary_dim": 4},
    "gpt_bigcode": {**_GPT2, "multi_query": True},
    "codegen": {**_GPT2, "rotary_dim": 4},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "expansion_ratio": 2, "max_seq_len": 64},
    "falcon": {"multi_query": True, "new_decoder_architecture": False},
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "biogpt": {},
    "llama": {**_FEW_KEYS, "tie_word_embeddings": True},
    "qwen2": _FEW_KEYS,
    "qwen3": {**_FEW_KEYS, "head_dim": 8},
    "phi": {},
    "phi3": _FEW_KEYS,
    "stablelm": _FEW_KEYS,
    "starcoder2": _FEW_KEYS,
    "olmo": {},
    "olmo2": {},
    "cohere": {"logit_scale": 0.5, **_FEW_KEYS},
    "granite": {"logits_scaling": 4.0, **_FEW_KEYS},
    "nemotron": _FEW_KEYS,
    "gemma": {**_FEW_KEYS, "head_dim": 8},
    # sliding windows and chunks, shorter than the texts; soft caps
    "mistral": {**_FEW_KEYS, "sliding_window": 5},
    "gemma2": {**_FEW_KEYS, "head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 8},
    "gemma3_text": {
        **_FEW_KEYS,
        "head_dim": 8,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "cohere2": {**_FEW_KEYS, "sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]},
    "llama4_text": {**_FEW_KEYS, "head_dim": 8, "attention_chunk_size": 8, "intermediate_size_mlp": 48, **_EXPERTS},
    "gpt_oss": {**_FEW_KEYS, "head_dim": 8, "sliding_window": 5, **_EXPERTS},
    # mixtures of experts
    "mixtral": {**_FEW_KEYS, **_EXPERTS},
    "qwen2_moe": {
        **_FEW_KEYS,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v3": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
        "num_key_value_heads": 4,
    },
    # recurrent and state-space models
    "mamba": {"state_size": 8, "time_step_rank": 4},
    "mamba2": {"state_size": 8, "num_heads": 4, "head_dim": 16, "n_groups": 1, "chunk_size": 8},
    "falcon_mamba": {"state_size": 8, "time_step_rank": 4},
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "xlstm": {"num_heads": 2, "num_blocks": 2},
    # hybrids of both
    "jamba": {
        **_FEW_KEYS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "bamba": {**_FEW_KEYS, "attn_layer_indices": [1], **_MAMBA2},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
        "num_key_value_heads": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "mamba_d_state": 8,
        "n_mamba_heads": 4,
        "mamba_ngroups": 1,
        "chunk_size": 8,
        "use_mem_rope": True,
        "num_mem_blocks": 1,
        "adapter_rank": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "recurrent_gemma": {
        **_FEW_KEYS,
        "num_hidden_layers": 3,
        "lru_width": 32,
        "attention_window_size": 8,
        "block_types": ["recurrent", "recurrent", "attention"],
        "conv1d_width": 4,
        "num_attention_heads": 4,
        "head_dim": 8,
    },
    "falcon_h1": {**_FEW_KEYS, "head_dim": 8, "mamba_d_ssm": 64, **_MAMBA2},
    "granitemoehybrid": {
        **_FEW_KEYS,
        "layer_types": ["mamba", "attention"],
        **_EXPERTS,
        "shared_intermediate_size": 16,
        **_MAMBA2,
    },
    "nemotron_h": {
        **_FEW_KEYS,
        "head_dim": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 8,
    },
    "lfm2": {**_FEW_KEYS, "layer_types": ["conv", "full_attention"]},
    "qwen3_next": {
        **_FEW_KEYS,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "minimax": {
        **_FEW_KEYS,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "block_size": 8,
        **_EXPERTS,
    },
}
"""By transformers' name of the model type: the settings in which it differs from `_SIZES`."""


def make(family: str, **changes: Any) -> Any:
    """A model of that family with random weights from seed 0, in float32; its head is made four times steeper."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **(_SIZES | FAMILIES[family] | changes))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).float()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    return model.eval()
