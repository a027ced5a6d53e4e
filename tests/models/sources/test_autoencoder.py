"""The autoencoder: a causal language model without latents; with them it reconstructs."""

from typing import Any

import numpy as np
import torch

from ontogeny.models.body_and_head import BodyAndHead
from tests.measures.small import make_autoencoder

VOCABULARY = 60


def _rows(count: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, VOCABULARY, (count, length)))


def test_without_latents_it_is_causal() -> None:
    """`BodyAndHead` refuses a model that sees later tokens, and checks that both halves give the whole."""
    assert not BodyAndHead(make_autoencoder(vocabulary=VOCABULARY).eval()).whole


def test_latents_are_of_the_text_and_not_of_padding() -> None:
    model, rows = make_autoencoder(vocabulary=VOCABULARY).eval(), _rows(2, 10)
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
    model, rows = make_autoencoder(vocabulary=VOCABULARY).eval(), _rows(3, 9)
    with torch.no_grad():
        latents = model.encode(rows)
        embeddings = torch.cat([latents, model.gpt_neox.embed_in(rows)], dim=1)
        expected = model.lm_head(model.gpt_neox(inputs_embeds=embeddings).last_hidden_state)[:, 2:]
        output = model(input_ids=rows, reconstruct=True, output_hidden_states=True)
    torch.testing.assert_close(output.logits, expected)
    assert [state.shape for state in output.hidden_states] == [(3, 9, 24)] * 3


def test_it_is_saved_and_loaded(tmp_path: Any) -> None:
    from ontogeny.core.origin import Origin
    from ontogeny.models.build import load_causal_lm, save_model

    model, rows = make_autoencoder(vocabulary=VOCABULARY).eval(), _rows(1, 5)
    save_model(model, tmp_path)
    again = load_causal_lm(Origin(path=str(tmp_path))).eval()
    with torch.no_grad():
        assert torch.equal(
            model(input_ids=rows, reconstruct=True).logits, again(input_ids=rows, reconstruct=True).logits
        )
