"""Every family of causal language models is measured right: in padded batches and with what it keeps from token to
token, as by plain forward passes over each text alone.

A family is a line in `families.py`. Those that are not in `QUICK` run with `-m slow`.
"""

from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.terms import ModelShape
from ontogeny.data.collate import collate
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.measures.representation import Representation
from ontogeny.measures.token_nll import TokenNll
from ontogeny.models.body_and_head import BodyAndHead, shape_of
from ontogeny.models.decoding import continue_greedily, sample
from ontogeny.models.decoding_ways import WAYS, Way, way_of
from ontogeny.models.weights import effective_weights, fingerprint
from ontogeny.objectives.forward import ModelForward
from tests.measures.small import ByteTokenizer, log_probabilities, make_context, random_probe
from tests.models.families import FAMILIES, VOCABULARY, make

QUICK = ("gpt2", "mistral", "mamba", "jamba")
"""Attention with learned positions, with a sliding window, a state, and both."""
ALL = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in FAMILIES]
LENGTHS = (17, 9, 4, 17)
NEW_TOKENS = 8


class NeverEnding(ByteTokenizer):
    eos_token_id = None


def prompts() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(3, VOCABULARY, length).astype(np.int32) for length in LENGTHS]


def missed_by(model: Any, prompt: np.ndarray, written: np.ndarray) -> float:
    """Nats by which the written tokens fall short of the first choices in one plain pass over the text: 0 if greedy."""
    text = np.concatenate([prompt, written]).astype(np.int64)
    log_p = log_probabilities(model, text)[len(prompt) - 1 : -1]
    return float((log_p.max(axis=1) - log_p[np.arange(len(written)), written]).max())


@pytest.mark.parametrize("family", ALL)
def test_predictions_and_texts_are_those_of_plain_passes(family: str) -> None:
    model = make(family)
    before = fingerprint(effective_weights(model))
    probe = random_probe("p", [9, 40, 1, 23, 2])
    seen, _ = run_stream_looks(make_context(model, [probe]), [TokenNll()])
    expected = []
    for passage in probe.passages:
        log_p = log_probabilities(model, passage.token_ids)
        expected += [np.nan, *-log_p[np.arange(len(passage) - 1), passage.token_ids[1:]]]
    np.testing.assert_allclose(seen["token_nll"].arrays["nll_nats"].values, expected, rtol=1e-3, atol=1e-3)

    forward = ModelForward(model, collate(probe.passages, 0))  # as in training: padded on the right, with a mask
    with torch.no_grad():
        trained = np.concatenate([row[: len(p)] for row, p in zip(forward.nll.numpy(), probe.passages, strict=True)])
    np.testing.assert_allclose(trained, np.nan_to_num(np.array(expected)), rtol=1e-3, atol=1e-3)

    asked = prompts()
    written = continue_greedily(model, NeverEnding(), asked, [NEW_TOKENS, 5, 8, NEW_TOKENS], 10_000)
    generated = sample(model, NeverEnding(), asked, NEW_TOKENS, None, seeds=[0] * 4)
    for prompt, ours, count, theirs in zip(asked, written, (NEW_TOKENS, 5, 8, NEW_TOKENS), generated, strict=True):
        assert (len(ours), len(theirs)) == (count, NEW_TOKENS)
        assert missed_by(model, prompt, ours) < 2e-3
        assert missed_by(model, prompt, theirs) < 2e-3
    assert fingerprint(effective_weights(model)) == before


@pytest.mark.parametrize("family", ALL)
def test_states_of_each_layer_are_the_models_own(family: str) -> None:
    model = make(family)
    ids = torch.from_numpy(prompts()[0].astype(np.int64))[None]
    with torch.no_grad():
        ours = BodyAndHead(model).body(ids, hidden_states=True).hidden_states
        theirs = model(input_ids=ids, output_hidden_states=True, use_cache=False).hidden_states
    assert ours is not None
    assert len(ours) == len(theirs) > 2
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(ours, theirs, strict=True))
    observed = Representation(tokens=16).look(make_context(model, [random_probe("p", [20, 9])]))
    assert np.isfinite(observed.arrays["effective_rank"].values).all()


def test_ways_are_found_by_trying() -> None:
    """RWKV reads padding on the left as text, and its states mix the texts of a batch: each prompt runs alone."""
    asked = prompts()
    assert way_of(make("gpt2"), asked, [9] * 4, [], 0) == WAYS[0] == Way("any", cached=True)
    for texts in (asked, [prompt[:4] for prompt in asked]):
        assert way_of(make("rwkv"), texts, [9] * 4, [], 0) == Way("none", cached=True)


def test_a_cache_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose kept values are scaled: only whole texts are right, and those are what is written."""
    model = make("gpt2")
    forward = type(model).forward

    def forgetful(self: Any, *arguments: Any, past_key_values: Any = None, **others: Any) -> Any:
        if past_key_values is not None and past_key_values.get_seq_length():
            for layer in past_key_values.layers:
                layer.values.mul_(0.0)
        return forward(self, *arguments, past_key_values=past_key_values, **others)

    honest = continue_greedily(model, NeverEnding(), prompts(), [NEW_TOKENS] * 4, 10_000)
    monkeypatch.setattr(type(model), "forward", forgetful)
    assert way_of(model, prompts(), [NEW_TOKENS] * 4, [], 0) == WAYS[-1] == Way("equal", cached=False)
    again = continue_greedily(model, NeverEnding(), prompts(), [NEW_TOKENS] * 4, 10_000)
    assert [text.tolist() for text in again] == [text.tolist() for text in honest]


def test_rwkv_would_change_its_own_weights(tmp_path: Any) -> None:
    """More blocks than `rescale_every`: plain evaluation halves weights in place, one of a loaded model does not."""
    from ontogeny.core.origin import Origin
    from ontogeny.models.build import load_causal_lm

    model = make("rwkv", num_hidden_layers=3, rescale_every=2)
    model.save_pretrained(tmp_path)
    before = fingerprint(effective_weights(model))
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        model(input_ids=ids)
        assert fingerprint(effective_weights(model)) != before
        loaded = load_causal_lm(Origin(path=str(tmp_path))).eval()
        loaded(input_ids=ids)
    assert fingerprint(effective_weights(loaded)) == before


def test_attentions_that_a_model_does_not_have_are_refused() -> None:
    from ontogeny.core.errors import DataError

    ids = torch.arange(3, 20)[None]
    for family in ("mamba", "jamba"):
        with torch.no_grad(), pytest.raises(DataError, match="has no attention probabilities in each of its 2 blocks"):
            BodyAndHead(make(family)).body(ids, attentions=True)
    with torch.no_grad():
        attentions = BodyAndHead(make("gpt2")).body(ids, attentions=True).attentions
    assert attentions is not None
    assert [tuple(attention.shape) for attention in attentions] == [(1, 4, 17, 17)] * 2


def test_an_encoder_with_a_decoder_is_refused_by_what_it_is(tmp_path: Any) -> None:
    from transformers import BartConfig, T5Config

    from ontogeny.core.errors import RecipeError
    from ontogeny.core.origin import Origin
    from ontogeny.models.build import load_causal_lm

    for config in (T5Config(), BartConfig()):
        config.save_pretrained(tmp_path)
        with pytest.raises(RecipeError, match=rf"\({config.model_type}\) is an encoder with a decoder: .* GPT-2"):
            load_causal_lm(Origin(path=str(tmp_path)))


@pytest.mark.parametrize("family", ["mamba", "mamba2", "rwkv"])
def test_a_model_without_attention_has_no_heads(family: str) -> None:
    """With its own configuration alone: `families.make` gives all the same sizes, heads among them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"mamba2": {"num_heads": 4, "head_dim": 8, "n_groups": 1}}
    config = AutoConfig.for_model(family, vocab_size=30, hidden_size=16, num_hidden_layers=2, **sizes.get(family, {}))
    heads = 0 if family != "mamba2" else getattr(config, "num_attention_heads", 0)
    assert shape_of(AutoModelForCausalLM.from_config(config)) == ModelShape(
        width=16, blocks=2, heads=heads, vocabulary=30
    )
