"""The autoencoder: a causal language model without latents; with them it reconstructs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.core.passages import ProbeSet
from ontogeny.measures.reconstruction import Reconstruction, _decode
from ontogeny.models.halves import Halves
from ontogeny.models.sources.autoencoder import Autoencoder
from ontogeny.objectives.forward import TrainForward
from ontogeny.objectives.terms.reconstruction import Reconstruction as Term
from tests.measures.small import make_context, make_model, passage

VOCABULARY = 60


class _Tokenizer:
    bos_token_id = eos_token_id = pad_token_id = 0

    def __len__(self) -> int:
        return VOCABULARY


def _model(seed: int = 0) -> Any:
    load = SimpleNamespace(tokenizer=_Tokenizer(), length=32, seed=seed, dropout=None)
    return Autoencoder(size="pico", encoder_blocks=1, latents=2).load(load).eval()


def _rows(count: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, VOCABULARY, (count, length)))


def test_without_latents_it_is_causal() -> None:
    """`Halves` refuses a model that sees later tokens, and checks that both halves give the whole."""
    assert not Halves(_model()).whole


def test_latents_are_of_the_text_and_not_of_padding() -> None:
    model, rows = _model(), _rows(2, 10)
    mask = torch.ones_like(rows)
    mask[0, 6:] = 0
    with torch.no_grad():
        padded, alone = model.encode(rows, mask)[:1], model.encode(rows[:1, :6])
        rows[0, 6:] = 3
        assert torch.equal(model.encode(rows, mask)[:1], padded)
    torch.testing.assert_close(padded, alone, atol=1e-6, rtol=1e-5)
    assert padded.shape == (1, 2, 24)


def test_logits_stand_at_the_texts_own_positions() -> None:
    """By hand: run the decoder over [latents, embeddings], and drop what stands at the latents."""
    model, rows = _model(), _rows(3, 9)
    with torch.no_grad():
        latents = model.encode(rows)
        embeddings = torch.cat([latents, model.gpt_neox.embed_in(rows)], dim=1)
        expected = model.lm_head(model.gpt_neox(inputs_embeds=embeddings).last_hidden_state)[:, 2:]
        output = model(input_ids=rows, reconstruct=True, output_hidden_states=True)
    torch.testing.assert_close(output.logits, expected)
    assert [state.shape for state in output.hidden_states] == [(3, 9, 24)] * 3


def test_the_term_is_the_sum_over_supervised_tokens() -> None:
    model, rows = _model(), _rows(2, 8)
    supervised = torch.ones_like(rows, dtype=torch.bool)
    supervised[:, 0] = False
    supervised[0, 5:] = False
    mask = torch.ones_like(rows)
    forward = TrainForward(model, {"input_ids": rows, "attention_mask": mask, "supervised": supervised})
    value, unit = Term().value(forward)
    with torch.no_grad():
        log_p = model(input_ids=rows, reconstruct=True).logits.log_softmax(dim=-1)
    expected = -sum(
        float(log_p[row, at - 1, rows[row, at]]) for row in range(2) for at in range(1, 8) if supervised[row, at]
    )
    assert unit == "tokens"
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_encoder_learns_through_the_term() -> None:
    model, rows = _model().train(), _rows(2, 8)
    supervised = torch.ones_like(rows, dtype=torch.bool)
    supervised[:, 0] = False
    batch = {"input_ids": rows, "attention_mask": torch.ones_like(rows), "supervised": supervised}
    Term().value(TrainForward(model, batch))[0].backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.to_latents.parameters())
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.encoder.parameters())


def test_decoding_is_greedy_given_the_latents() -> None:
    """With a cache it writes what whole passes write, token by token."""
    model, rows = _model(), _rows(3, 7)
    with torch.no_grad():
        latents = model.encode(rows)
        text = rows[:, :1]
        for _ in range(5):
            choice = model(input_ids=text, latents=latents).logits[:, -1].argmax(dim=-1)
            text = torch.cat([text, choice[:, None]], dim=1)
    assert np.array_equal(_decode(model, latents, rows[:, :1], 5), text[:, 1:].numpy())


def test_a_passage_learned_by_heart_is_reconstructed_and_others_are_not() -> None:
    model = _model().train()
    known, other = _rows(4, 24), _rows(4, 24, seed=1)
    supervised = torch.ones_like(known, dtype=torch.bool)
    supervised[:, 0] = False
    batch = {"input_ids": known, "attention_mask": torch.ones_like(known), "supervised": supervised}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(250):
        optimizer.zero_grad()
        (Term().value(TrainForward(model, batch))[0] / 92).backward()
        optimizer.step()
    probes = [ProbeSet(name=name, passages=[passage(row.tolist()) for row in rows]) for name, rows in
              (("train", known), ("novel", other))]  # fmt: skip
    model.eval()
    seen = Reconstruction().look(make_context(model, probes, tokenizer=_Tokenizer())).arrays
    share = dict(zip(seen.probe.values, seen["share_memorized"].values, strict=True))
    assert share == {"train": 1.0, "novel": 0.0}
    assert float(seen["nll"].values[:4].max()) < 0.2 < float(seen["nll"].values[4:].min())
    assert seen["passage_score"].dims == ("block", "passage")
    assert np.isfinite(seen["passage_score"].values).all()


def test_other_models_are_refused_in_one_line() -> None:
    context = make_context(make_model(), [ProbeSet(name="train", passages=[passage(range(1, 30))])])
    with pytest.raises(RecipeError, match="needs an autoencoder, not GPTNeoXForCausalLM"):
        Reconstruction().look(context)


def test_it_is_saved_and_loaded(tmp_path: Any) -> None:
    from ontogeny.core.contracts import Origin
    from ontogeny.models.build import load_causal_lm, save_model

    model, rows = _model(), _rows(1, 5)
    save_model(model, tmp_path)
    again = load_causal_lm(Origin(path=str(tmp_path))).eval()
    with torch.no_grad():
        assert torch.equal(
            model(input_ids=rows, reconstruct=True).logits, again(input_ids=rows, reconstruct=True).logits
        )
