import copy
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.models.weights import (
    block_axis,
    block_of,
    counted_flops_per_token,
    effective_weights,
    fingerprint,
    nonembedding_parameters,
    own_memory,
)
from tests.measures.small import make_model

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def with_lora(model: Any, **settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", **settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return adapted


def tied_model() -> Any:
    from transformers import AutoModelForCausalLM, GPT2Config

    return AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0)
    )


def test_plain_weights_are_the_named_parameters() -> None:
    model = make_model()
    weights = effective_weights(model)
    assert list(weights) == [name for name, _ in model.named_parameters()]
    assert all(
        torch.equal(weights[name], p) and not weights[name].requires_grad for name, p in model.named_parameters()
    )


def test_tied_weights_appear_once() -> None:
    names = list(effective_weights(tied_model()))
    assert names[0] == "transformer.wte.weight"
    assert not any("lm_head" in name for name in names)


def test_lora_is_merged_as_peft_merges_it_and_the_model_stays_as_it_was() -> None:
    adapted = with_lora(make_model())
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    weights = effective_weights(adapted)
    assert all(torch.equal(before[name], tensor) for name, tensor in adapted.state_dict().items())
    merged = copy.deepcopy(adapted).merge_and_unload()  # independent: peft's own merge
    expected = dict(merged.named_parameters())
    assert list(weights) == list(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    base = dict(make_model().named_parameters())
    changed = {name for name in weights if not torch.equal(weights[name], base[name])}
    assert "gpt_neox.layers.0.mlp.dense_h_to_4h.weight" in changed
    assert "gpt_neox.embed_in.weight" not in changed


def test_modules_saved_beside_lora_replace_the_originals() -> None:
    adapted = with_lora(make_model(), modules_to_save=["embed_in"])
    with torch.no_grad():
        adapted.get_base_model().gpt_neox.embed_in.modules_to_save["default"].weight.fill_(7.0)
    weights = effective_weights(adapted)
    assert torch.equal(weights["gpt_neox.embed_in.weight"], torch.full((300, 24), 7.0))
    assert list(weights) == [name for name, _ in make_model().named_parameters()]


def test_loaded_weights_get_aligned_memory_of_their_own(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = make_model(dropout=0.0).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    own_memory(loaded)
    assert fingerprint(effective_weights(loaded)) == fingerprint(effective_weights(model))
    assert {parameter.data_ptr() % 64 for parameter in loaded.parameters()} == {0}
    ids = torch.tensor([[7]])  # one row: the case in which memory that is not aligned gives other bits
    with torch.no_grad():
        assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)


def test_ties_outlive_the_move() -> None:
    model = tied_model()
    own_memory(model)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_fingerprint_by_hand() -> None:
    weights = {"b": torch.tensor([1.5], dtype=torch.bfloat16), "a": torch.tensor([[1.0, -2.0]])}
    # bfloat16 1.5 = 0x3fc0 and float32 1.0 = 0x3f800000, -2.0 = 0xc0000000, little-endian; names sorted
    expected = hashlib.sha256(
        b"a\x1ffloat32\x1f(1, 2)\x1e" + b"\x00\x00\x80\x3f\x00\x00\x00\xc0" + b"b\x1fbfloat16\x1f(1,)\x1e" + b"\xc0\x3f"
    )
    assert fingerprint(weights) == expected.hexdigest()
    assert fingerprint(dict(reversed(weights.items()))) == expected.hexdigest()


def test_fingerprint_sees_names_dtypes_shapes_and_single_bits() -> None:
    plain = {"a": torch.zeros(4)}
    others = [
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0.0, 0.0, 0.0, -0.0])},
        {"a": torch.zeros(4), "b": torch.zeros(0)},
    ]
    assert len({fingerprint(one) for one in [plain, *others]}) == 6
    strided = torch.arange(8.0)[::2]
    assert fingerprint({"a": strided}) == fingerprint({"a": strided.clone()})


def test_nonembedding_parameters_of_gpt_neox() -> None:
    # per block 12 d^2 + 13 d (attention 4 d^2 + 4 d, MLP 8 d^2 + 5 d, two norms 4 d), final norm 2 d; d = 24, 2 blocks
    expected = 2 * (12 * 24**2 + 13 * 24) + 2 * 24
    assert nonembedding_parameters(make_model()) == expected == 14496
    assert nonembedding_parameters(with_lora(make_model())) == expected


def test_nonembedding_parameters_leave_out_positions_and_tied_embeddings() -> None:
    # GPT-2, d = 8, 1 block: 12 d^2 + 13 d + final norm 2 d = 768 + 104 + 16
    assert nonembedding_parameters(tied_model()) == 888


def test_flops_by_hand() -> None:
    # forward, per token: 2 x 12 d^2 per block for the linear layers, 4 T d per block for attention, 2 d V for the head;
    # the backward pass costs twice as much
    d, length, vocabulary = 24, 16, 300
    forward = 2 * (2 * 12 * d**2 + 4 * length * d) + 2 * d * vocabulary
    model = make_model()
    with torch.no_grad():
        assert counted_flops_per_token(model, length) == 3 * forward
    assert model.config._attn_implementation == "sdpa"
    assert all(p.grad is None and p.device.type == "cpu" for p in model.parameters())


def test_flops_of_frozen_weights_are_not_counted() -> None:
    model = make_model()
    whole = counted_flops_per_token(model, 16)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.get_output_embeddings().weight.requires_grad_(True)
    # one third of all (the forward pass), and the gradient of the head's weight, 2 d V
    assert counted_flops_per_token(model, 16) == whole / 3 + 2 * 24 * 300


def test_flops_are_unknown_where_the_model_cannot_run_without_memory() -> None:
    model = make_model()
    model.gpt_neox.layers[0].mlp.register_forward_hook(lambda *_: (torch.ones(1, device="meta").item(), None)[1])
    assert np.isnan(counted_flops_per_token(model, 16))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("gpt_neox.layers.11.attention.query_key_value.weight", 11),
        ("transformer.h.0.ln_1.bias", 0),
        ("model.layers.3.self_attn.q_proj.weight", 3),
        ("model.decoder.layers.2.fc1.bias", 2),
        ("bert.encoder.layer.5.output.dense.weight", 5),
        ("base_model.model.gpt_neox.layers.1.mlp.dense_h_to_4h.lora_A.default.weight", 1),
        ("gpt_neox.embed_in.weight", None),
        ("lm_head.weight", None),
        ("model.decoder.final_layer_norm.weight", None),
    ],
)
def test_block_of(name: str, block: int | None) -> None:
    assert block_of(name) == block


def test_block_axis_puts_embeddings_before_and_the_head_after() -> None:
    names = [
        "model.decoder.embed_positions.weight",
        "model.decoder.final_layer_norm.bias",
        "model.decoder.layers.0.fc1.bias",
        "model.decoder.layers.1.fc1.bias",
        "lm_head.weight",
        "gpt_neox.embed_out.weight",
        "transformer.wpe.weight",
    ]
    assert block_axis(names).tolist() == [-1, 2, 0, 1, 2, 2, -1]
