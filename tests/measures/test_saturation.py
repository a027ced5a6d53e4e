"""Saturation: shares worked by hand on planted Fisher information, and a model that moved where it was moved."""

from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.measures.saturation import Saturation
from ontogeny.models import fisher as fisher_module
from ontogeny.models.fisher import Fisher, diagonal_fisher
from ontogeny.models.weights import effective_weights
from tests.measures.small import make_context, make_model, random_probe


def _observed(model: Any, first: Any = None, **settings: Any) -> Any:
    probes = [random_probe("a", [20, 12, 9])]
    changes = {} if first is None else {"first_weights": lambda: first}
    return Saturation(**settings).look(make_context(model, probes, **changes)).arrays


def _copied(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in effective_weights(model).items()}


def _planted(monkeypatch: pytest.MonkeyPatch, model: Any, values: Any) -> None:
    """F of 0 everywhere but for some first elements of some tensors."""
    planted = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for name, numbers in values.items():
        planted[name].view(-1)[: len(numbers)] = torch.tensor(numbers)
    monkeypatch.setattr(fisher_module, "diagonal_fisher", lambda *_, **__: Fisher(values=planted, examples=1, tokens=1))


HEAD, NORM = "lm_head.weight", "gpt_neox.layers.1.input_layernorm.weight"


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """F is 6 and 2 in the head, 1 and 1 in block 1. Moved, by 0.5 each: the head's first and the norm's second."""
    model = make_model()
    first = _copied(model)
    with torch.no_grad():
        dict(model.named_parameters())[HEAD].view(-1)[0] += 0.5
        dict(model.named_parameters())[NORM].view(-1)[1] += 0.5
    _planted(monkeypatch, model, {HEAD: [6.0, 2.0], NORM: [1.0, 1.0]})
    n = sum(p.numel() for p in model.parameters())
    observed = _observed(model, first, top=1.4 / n)  # the top parameter
    assert float(observed["mass"][0]) == 10.0
    assert float(observed["top_share"][0]) == pytest.approx(0.6)  # 6 of 10
    assert float(observed["mass_on_moved"][0]) == pytest.approx(0.7)  # 6 + 1 of 10
    assert float(observed["effective_share"][0]) == pytest.approx(100 / 42 / n)  # 10^2 / (36 + 4 + 1 + 1)
    assert float(observed["penalty"][0]) == pytest.approx(0.5 * 0.25 * 7)
    assert float(observed["moved"]) == pytest.approx(2 / n)
    of_block = observed.sel(block=1)
    assert float(of_block["block_mass"][0]) == 2.0
    assert float(of_block["block_mass_on_moved"][0]) == 0.5
    assert float(of_block["block_top_share"][0]) == 0.5
    assert np.isnan(observed.sel(block=0)["block_mass_on_moved"].values).all()  # no mass, no share


def test_nothing_has_moved_at_the_start() -> None:
    observed = _observed(make_model(dropout=0.0))
    assert float(observed["moved"]) == 0.0
    assert observed["mass_on_moved"].values.tolist() == [0.0]
    assert observed["penalty"].values.tolist() == [0.0]
    assert 0.1 < float(observed["top_share"][0]) <= 1  # 10% hold at least as much as if all held the same
    assert 0 < float(observed["effective_share"][0]) < 1


def test_small_noise_is_within_tolerance_and_large_is_not() -> None:
    """Of N(0, s^2) relative to the tensor's root mean square, |d| > 0.01 has the share 2 (1 - Phi(0.01 / s)): for
    s = 0.001 none, for s = 0.01 31.7%, for s = 1 99.2%."""
    for spread, expected in ((0.001, 0.0), (0.01, 0.317), (1.0, 0.992)):
        model = make_model(dropout=0.0)
        first = _copied(model)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(spread * p.square().mean().sqrt() * torch.randn(p.shape, generator=generator))
        still = sum(t.numel() for t in first.values() if not t.any())  # biases, all 0 in a model from scratch
        share = 1 - still / sum(t.numel() for t in first.values())
        assert float(_observed(model, first)["moved"]) == pytest.approx(share * expected, abs=0.01)


def test_mass_is_that_of_the_fisher_diagonal() -> None:
    model = make_model(dropout=0.0)
    observed = _observed(model, labels="data", passages=2)
    expected = diagonal_fisher(model.eval(), random_probe("a", [20, 12, 9]).passages[:2], labels="data").per_token()
    assert float(observed["mass"][0]) == pytest.approx(sum(float(v.double().sum()) for v in expected.values()))
    assert float(observed["block_mass"].sum()) == pytest.approx(float(observed["mass"][0]))


def test_adapters_are_merged() -> None:
    """Fresh adapters change nothing: the same numbers, under the names of the base."""
    from ontogeny.core.recipe_train import Lora
    from ontogeny.models.build import add_lora

    plain = _observed(make_model(dropout=0.0))
    adapted = _observed(add_lora(make_model(dropout=0.0), Lora(rank=2), 0))
    assert float(adapted["mass"][0]) == pytest.approx(float(plain["mass"][0]), rel=1e-5)
    assert adapted["block"].equals(plain["block"])
