"""The autoencoder: a causal language model without latents; with them it reconstructs."""

import numpy as np
import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.core.passages import ProbeSet
from ontogeny.measures.reconstruction import Reconstruction, _decode
from ontogeny.objectives.forward import ModelForward
from ontogeny.objectives.terms.reconstruction import ReconstructionTerm
from tests.measures.small import make_autoencoder, make_context, make_model, passage

VOCABULARY = 60


def _rows(count: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, VOCABULARY, (count, length)))


def test_decoding_is_greedy_given_the_latents() -> None:
    """With a cache it writes what whole passes write, token by token."""
    model, rows = make_autoencoder(vocabulary=VOCABULARY).eval(), _rows(3, 7)
    with torch.no_grad():
        latents = model.encode(rows)
        text = rows[:, :1]
        for _ in range(5):
            choice = model(input_ids=text, latents=latents).logits[:, -1].argmax(dim=-1)
            text = torch.cat([text, choice[:, None]], dim=1)
    assert np.array_equal(_decode(model, latents, rows[:, :1], 5), text[:, 1:].numpy())


@pytest.mark.slow
def test_a_passage_learned_by_heart_is_reconstructed_and_others_are_not() -> None:
    model = make_autoencoder(vocabulary=VOCABULARY).train()
    known, other = _rows(4, 24), _rows(4, 24, seed=1)
    supervised = torch.ones_like(known, dtype=torch.bool)
    supervised[:, 0] = False
    batch = {"input_ids": known, "attention_mask": torch.ones_like(known), "supervised": supervised}
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(250):
        optimizer.zero_grad()
        (ReconstructionTerm().value(ModelForward(model, batch))[0] / 92).backward()
        optimizer.step()
    probes = [
        ProbeSet(name=name, passages=[passage(row.tolist()) for row in rows])
        for name, rows in (("train", known), ("novel", other))
    ]
    model.eval()
    seen = Reconstruction().look(make_context(model, probes)).arrays
    share = dict(zip(seen.probe.values, seen["share_memorized"].values, strict=True))
    assert share == {"train": 1.0, "novel": 0.0}
    assert float(seen["nll"].values[:4].max()) < 0.2 < float(seen["nll"].values[4:].min())
    assert seen["passage_score"].dims == ("block", "passage")
    assert np.isfinite(seen["passage_score"].values).all()


def test_other_models_are_refused_in_one_line() -> None:
    context = make_context(make_model(), [ProbeSet(name="train", passages=[passage(range(1, 30))])])
    with pytest.raises(RecipeError, match="needs an autoencoder, not GPTNeoXForCausalLM"):
        Reconstruction().look(context)
