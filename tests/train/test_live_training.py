"""What a measure may see of training: the next update as the optimizer will make it, and steps that are taken back."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from ontogeny.core.optimizers import DirectionUnknownError
from ontogeny.looking.update_direction import update_direction
from ontogeny.train.live_training import LiveSession
from ontogeny.train.loop import training_steps
from ontogeny.train.session import Session
from tests.train.test_loop import session_of

OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "AdamW": (torch.optim.AdamW, {"weight_decay": 0.1, "betas": (0.9, 0.95)}),
    "Adam with L2": (torch.optim.Adam, {"weight_decay": 0.1}),
    "Adam, amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "Adam, maximize": (torch.optim.Adam, {"maximize": True}),
    "SGD": (torch.optim.SGD, {}),
    "SGD with momentum and L2": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.01}),
    "SGD with dampening": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.5}),
    "SGD, Nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_direction_is_what_a_real_step_adds(name: str, taken: int) -> None:
    """In float64: theta + rate x direction and the stepped theta agree to 1e-12, before and after the moments exist."""
    torch.manual_seed(0)
    made, settings = OPTIMIZERS[name]
    parameters = [torch.nn.Parameter(torch.randn(5, 4, dtype=torch.float64)) for _ in range(2)]
    groups = [{"params": parameters[:1], "multiplier": 0.5}, {"params": parameters[1:], "multiplier": 1.0}]
    optimizer = made(groups, lr=0.01, **settings)

    def fill() -> None:
        for p in parameters:
            p.grad = torch.randn_like(p)

    for _ in range(taken):
        fill()
        optimizer.step()
    fill()
    rate = 0.03
    before = [p.detach().clone() for p in parameters]
    expected = [b + rate * u for b, (_, u) in zip(before, update_direction(optimizer), strict=True)]
    assert all(torch.equal(b, p) for b, p in zip(before, parameters, strict=True))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["multiplier"]
    optimizer.step()
    assert max(float((p - e).abs().max()) for p, e in zip(parameters, expected, strict=True)) < 1e-12


def test_other_optimizers_are_refused() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(DirectionUnknownError, match="what Adagrad will do at another learning rate is not known"):
        update_direction(torch.optim.Adagrad([parameter]))


def _everything(session: Session) -> list[Any]:
    state = session.optimizer.state_dict()
    return [
        {name: p.detach().clone() for name, p in session.model.named_parameters()},
        deepcopy(state["state"]),
        deepcopy(state["param_groups"]),
        session.step,
        [None if p.grad is None else p.grad.clone() for p in session.model.parameters()],
        [module.training for module in session.model.modules()],
    ]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("taken", [0, 2])
def test_trial_steps_are_taken_back_bit_for_bit(texts: Path, taken: int) -> None:
    session = session_of(texts, dropout=0.1, clip=0.5)
    steps = training_steps(session)
    for _ in range(taken):
        next(steps)
    before = _everything(session)
    live = LiveSession(session)
    live.next_update()
    assert _same(before, _everything(session))
    with live.trial() as trial:
        trial.step(0.1)
        trial.step(0.1)
        assert session.step == taken + 2
        assert not _same(before, _everything(session))
    assert _same(before, _everything(session))


def test_a_trial_is_the_step_that_training_takes(texts: Path) -> None:
    """With dropout, accumulation and clipping: bit for bit."""
    session = session_of(texts, dropout=0.1, clip=0.5, accumulate=2)
    live = LiveSession(session)
    with live.trial() as trial:
        trial.step(live.learning_rate)
        tried = [p.detach().clone() for p in session.model.parameters()]
    next(training_steps(session))
    assert all(torch.equal(a, b) for a, b in zip(tried, session.model.parameters(), strict=True))
