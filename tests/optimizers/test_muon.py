"""Muon: torch's own steps for blocks' matrices and AdamW's for the rest, told beforehand, resumed exactly."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch

from ontogeny.core.errors import OntogenyError
from ontogeny.core.optimizers import NamedParameter, ParameterGroup
from ontogeny.optimizers.muon import Muon
from ontogeny.train.parameter_groups import set_layer_slope
from tests.optimizers.tiny import (
    SLOW,
    Parameters,
    assert_direction_is_the_step,
    assert_only_matrices_decay,
    assert_resumes_bit_for_bit,
    draw_gradients,
    groups_of,
    make_parameters,
    set_rates,
    take_steps,
    take_torch_steps,
)

MATRICES = ("layers.0.weight", "layers.1.weight")


def _by_hand(parameters: Parameters, adamw_lr: float) -> list[torch.optim.Optimizer]:
    def groups(names: list[str], scale: float) -> list[dict[str, object]]:
        return [
            {
                "params": [parameters[name]],
                "lr": scale * (0.005 if name in SLOW else 0.01),
                "weight_decay": 0.1 * (parameters[name].ndim > 1),
            }
            for name in names
        ]

    rest = [name for name in parameters if name not in MATRICES]
    return [
        torch.optim.Muon(groups(list(MATRICES), 1.0), momentum=0.9, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups(rest, adamw_lr), betas=(0.9, 0.95), eps=1e-8),
    ]


@pytest.mark.parametrize("adamw_lr", [1.0, 0.25])
def test_steps_are_torchs_own(adamw_lr: float) -> None:
    ours, theirs = make_parameters(), make_parameters()
    take_steps(Muon(momentum=0.9, weight_decay=0.1, adamw_lr=adamw_lr), ours, 0.01, 4)
    take_torch_steps(_by_hand(theirs, adamw_lr), theirs, 4)
    assert all(torch.allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-8) for name in ours)


SETTINGS = {
    "default": Muon(),
    "original": Muon(adjust_lr_fn="original", adamw_lr=0.1),
    "without nesterov, with decay": Muon(nesterov=False, weight_decay=0.1),
}


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_direction_is_the_step(name: str, taken: int) -> None:
    assert_direction_is_the_step(SETTINGS[name], taken)


def test_an_orthogonalized_step_by_hand() -> None:
    """A gradient of rank one, a multiple of u v^T with unit vectors, has one singular value, which is normalized to 1.
    Five times x <- 3.4445 x - 4.775 x^3 + 2.0315 x^5 leads from there to s = 0.6964, so the step is
    -rate x 0.2 sqrt(max(2, 3)) x s u v^T, to the 8 bits of bfloat16.
    """
    singular = 1.0
    for _ in range(5):
        singular = 3.4445 * singular - 4.775 * singular**3 + 2.0315 * singular**5
    assert singular == pytest.approx(0.6964, abs=1e-4)
    p = torch.nn.Parameter(torch.zeros(2, 3))
    optimizer = Muon().build([ParameterGroup(parameters=(NamedParameter(name="layers.0.w", tensor=p, block=0),))])
    u, v = torch.tensor([0.6, 0.8]), torch.tensor([1.0, 2.0, 2.0]) / 3
    p.grad = 1e-3 * torch.outer(u, v)
    set_rates(optimizer, 0.1)
    optimizer.step()
    expected = -0.1 * 0.2 * 3**0.5 * singular * torch.outer(u, v)
    assert p.detach().numpy() == pytest.approx(expected.numpy(), rel=0.02)


def test_decay_by_hand() -> None:
    """Without a gradient a matrix shrinks by rate x decay: 0.1 x 0.2 = 0.02, half of that at half the rate."""
    factors = {"embed_in.weight": 0.99, "layers.0.weight": 0.99, "layers.0.bias": 1.0}
    factors |= {"layers.1.weight": 0.98, "final_norm.weight": 1.0, "embed_out.weight": 0.98}
    assert_only_matrices_decay(Muon(weight_decay=0.2), factors)


def test_it_is_one_optimizer_to_everybody_else() -> None:
    """Groups and state are shared with the parts, also after its state was loaded; hooks run once per step."""
    parameters = make_parameters()
    optimizer = take_steps(Muon(), parameters, 0.01, 2)
    assert set(optimizer.state) == set(parameters.values())
    twin = make_parameters()
    other = Muon().build(groups_of(twin))
    with torch.no_grad():
        for name, p in twin.items():
            p.copy_(parameters[name])
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    counts = []
    other.register_step_post_hook(lambda *_: counts.append(1))
    for each, tensors in ((optimizer, parameters), (other, twin)):
        draw_gradients(tensors, 7)
        set_rates(each, 0.02)
        each.step()
    assert all(torch.equal(parameters[name], twin[name]) for name in parameters)
    assert counts == [1]
    other.zero_grad()
    assert all(p.grad is None for p in twin.values())


def test_layer_slopes_reach_both_parts_and_leave_the_scale() -> None:
    """One slope of 0.5 at depth 0: Muon 0.02 x 0.5, AdamW that times 0.25."""
    optimizer = Muon(adamw_lr=0.25).build(groups_of(make_parameters()))
    set_layer_slope(optimizer, (0.5, 1.0))
    set_rates(optimizer, 0.02)
    rates = {len(group["params"][0].shape): group["lr"] for group in optimizer.param_groups}
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.0025}
    assert rates[1] == 0.0025


def test_without_matrices_it_is_refused() -> None:
    vector = NamedParameter(name="layers.0.b", tensor=torch.nn.Parameter(torch.zeros(3)), block=0)
    with pytest.raises(OntogenyError, match="'muon' steps the matrices of blocks, and none is trained here"):
        Muon().build([ParameterGroup(parameters=(vector,))])


@pytest.mark.slow
def test_a_run_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a slope that is decided, and moments that an intervention sets to 0."""
    assert_resumes_bit_for_bit(
        tmp_path,
        monkeypatch,
        {"kind": "muon", "weight_decay": 0.1},
        controls=[{"kind": "level_layers", "every": 3}],
        interventions=[{"kind": "shrink_and_perturb", "at": {"every_steps": 9}}],
    )
