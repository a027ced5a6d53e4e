"""The loss of an autoencoder."""

import numpy as np
import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.objectives.forward import ModelForward
from ontogeny.objectives.terms.reconstruction import ReconstructionTerm
from tests.measures.small import make_autoencoder, make_model

VOCABULARY = 60


def _rows(count: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, VOCABULARY, (count, length)))


def test_the_term_is_the_sum_over_supervised_tokens() -> None:
    model, rows = make_autoencoder(vocabulary=VOCABULARY).eval(), _rows(2, 8)
    supervised = torch.ones_like(rows, dtype=torch.bool)
    supervised[:, 0] = False
    supervised[0, 5:] = False
    mask = torch.ones_like(rows)
    forward = ModelForward(model, {"input_ids": rows, "attention_mask": mask, "supervised": supervised})
    value, unit = ReconstructionTerm().value(forward)
    with torch.no_grad():
        log_p = model(input_ids=rows, reconstruct=True).logits.log_softmax(dim=-1)
    expected = -sum(
        float(log_p[row, at - 1, rows[row, at]]) for row in range(2) for at in range(1, 8) if supervised[row, at]
    )
    assert unit == "tokens"
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_encoder_learns_through_the_term() -> None:
    model, rows = make_autoencoder(vocabulary=VOCABULARY).train(), _rows(2, 8)
    supervised = torch.ones_like(rows, dtype=torch.bool)
    supervised[:, 0] = False
    batch = {"input_ids": rows, "attention_mask": torch.ones_like(rows), "supervised": supervised}
    ReconstructionTerm().value(ModelForward(model, batch))[0].backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.to_latents.parameters())
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.encoder.parameters())


def test_other_models_are_refused_in_one_line() -> None:
    rows = _rows(1, 5)
    batch = {"input_ids": rows, "attention_mask": rows, "supervised": rows > 0}
    with pytest.raises(RecipeError, match="loss term 'reconstruction' needs an autoencoder, not GPTNeoXForCausalLM"):
        ReconstructionTerm().value(ModelForward(make_model(), batch))
