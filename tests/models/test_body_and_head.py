import os
from typing import Any

import pytest
import torch

from ontogeny.models.body_and_head import BodyAndHead, NotCausalError

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}


def family(name: str) -> Any:
    import transformers

    small: dict[str, Any] = {"vocab_size": 90, "max_position_embeddings": 32, "num_attention_heads": 2, **SPECIAL}
    usual = {**small, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 32}
    settings: dict[str, dict[str, Any]] = {
        "GPTNeoX": usual,
        "GPT2": {"vocab_size": 90, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2, **SPECIAL},
        "Llama": {**usual, "num_key_value_heads": 2},
        "OPT": {**small, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 32, "word_embed_proj_dim": 16},
        "Gemma2": {**usual, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0},
        "Bert": usual,
    }
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings[name])
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("name", "whole"), [("GPTNeoX", False), ("GPT2", False), ("Llama", False), ("OPT", False), ("Gemma2", True)]
)
def test_the_halves_give_the_bits_of_the_whole(name: str, whole: bool) -> None:
    model = family(name)
    halves = BodyAndHead(model)
    assert halves.whole is whole  # Gemma 2 caps its logits after the projection
    ids = torch.randint(0, 90, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(halves.head(halves.body(ids).last_hidden), model(input_ids=ids).logits)
    assert halves.context_length == 32
    assert (halves.projection is None) == whole


def test_a_lora_model_is_seen_with_its_adapters() -> None:
    from tests.models.test_weights import make_model, with_lora

    model = with_lora(make_model(dropout=0.0)).eval()
    ids = torch.arange(12)[None]
    halves = BodyAndHead(model)
    assert not halves.whole
    with torch.no_grad():
        seen = halves.head(halves.body(ids).last_hidden)
        assert torch.equal(seen, model(input_ids=ids).logits)
        with model.disable_adapter():
            assert not torch.equal(seen, model(input_ids=ids).logits)


def test_a_model_that_sees_the_future_is_refused() -> None:
    with pytest.raises(NotCausalError, match="BertLMHeadModel sees later tokens"):
        BodyAndHead(family("Bert"))


def test_making_halves_leaves_modes_and_random_numbers_alone() -> None:
    model = family("GPTNeoX").train()
    model.gpt_neox.layers[1].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    BodyAndHead(model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_asking_for_states_and_attentions_leaves_the_rest_as_it_was() -> None:
    model = family("GPTNeoX")
    halves = BodyAndHead(model)
    ids = torch.randint(0, 90, (2, 12), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain = halves.body(ids)
        more = halves.body(ids, hidden_states=True, attentions=True)
    assert plain.hidden_states is None
    assert plain.attentions is None
    assert torch.equal(plain.last_hidden, more.last_hidden)
    assert more.hidden_states is not None
    assert more.attentions is not None
    assert len(more.hidden_states) == 3  # embeddings and two blocks
    assert torch.equal(more.hidden_states[-1], more.last_hidden)
    assert [a.shape for a in more.attentions] == [(2, 2, 12, 12)] * 2
    assert torch.allclose(more.attentions[0].sum(-1), torch.ones(2, 2, 12), atol=1e-5)
    assert model.config._attn_implementation == "sdpa"
