"""SGD: torch's own steps, by hand, the direction told beforehand, exact resume, refusals."""

from pathlib import Path

import pytest
import torch

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import load_recipe
from ontogeny.optimizers.sgd import Sgd
from tests.optimizers.tiny import (
    SLOW,
    assert_direction_is_the_step,
    assert_only_matrices_decay,
    assert_resumes_bit_for_bit,
    groups_of,
    make_parameters,
    set_rates,
    take_steps,
    take_torch_steps,
)

KINDS = {
    "plain": Sgd(),
    "momentum": Sgd(momentum=0.9, weight_decay=0.01),
    "dampening": Sgd(momentum=0.9, dampening=0.5),
    "nesterov": Sgd(momentum=0.9, nesterov=True, weight_decay=0.01),
}


@pytest.mark.parametrize("name", KINDS)
def test_steps_are_torchs_own(name: str) -> None:
    kind = KINDS[name]
    ours, theirs = make_parameters(), make_parameters()
    take_steps(kind, ours, 0.01, 4)
    groups = [
        {"params": [p], "lr": 0.005 if name in SLOW else 0.01, "weight_decay": kind.weight_decay * (p.ndim > 1)}
        for name, p in theirs.items()
    ]
    by_hand = torch.optim.SGD(groups, momentum=kind.momentum, dampening=kind.dampening, nesterov=kind.nesterov)
    take_torch_steps([by_hand], theirs, 4)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_momentum_by_hand() -> None:
    """Gradients 1, then 1, momentum 0.5, rate 0.1: buffers 1 and 1.5; steps -0.1 and -0.15. Nesterov: 1 + 0.5 x 1 and
    1 + 0.5 x 1.5, steps -0.15 and -0.175.
    """
    for kind, total in ((Sgd(momentum=0.5), 0.25), (Sgd(momentum=0.5, nesterov=True), 0.325)):
        parameters = {"embed_out.weight": torch.nn.Parameter(torch.zeros(2, 2))}
        optimizer = kind.build(groups_of(parameters))
        for _ in range(2):
            parameters["embed_out.weight"].grad = torch.ones(2, 2)
            set_rates(optimizer, 0.1)
            optimizer.step()
        assert parameters["embed_out.weight"].detach().numpy() == pytest.approx(-total)


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("name", KINDS)
def test_the_direction_is_the_step(name: str, taken: int) -> None:
    assert_direction_is_the_step(KINDS[name], taken)


def test_decay_by_hand() -> None:
    """Without a gradient a matrix shrinks by rate x decay: 0.1 x 0.2 = 0.02, half of that at half the rate."""
    factors = {"embed_in.weight": 0.99, "layers.0.weight": 0.99, "layers.0.bias": 1.0}
    factors |= {"layers.1.weight": 0.98, "final_norm.weight": 1.0, "embed_out.weight": 0.98}
    assert_only_matrices_decay(Sgd(weight_decay=0.2), factors)


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, momentum: float) -> None:
    """Also without momentum, where there is no state to save."""
    assert_resumes_bit_for_bit(tmp_path, monkeypatch, {"kind": "sgd", "momentum": momentum}, lr=0.1)


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(RecipeError, match=r"key 'train\.optimizer\.nesterov': nesterov needs a momentum above 0"):
        load_recipe("demo", ["train.optimizer={kind: sgd, nesterov: true}"])
