"""A few tensors with the names of a model, in two groups, and steps on gradients drawn at random."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from ontogeny.core.optimizers import NamedParameter, Optimizer, ParameterGroup
from ontogeny.models.weights import block_of
from tests.small_runs import differences, interrupt_and_resume, tree, write_text

SHAPES = {
    "embed_in.weight": (7, 4),
    "layers.0.weight": (6, 4),
    "layers.0.bias": (6,),
    "layers.1.weight": (4, 6),
    "final_norm.weight": (4,),
    "embed_out.weight": (7, 4),
}
SLOW = ("embed_in.weight", "layers.0.weight", "layers.0.bias")
"""Stepped at half the learning rate."""
Parameters = dict[str, torch.nn.Parameter]


def make_parameters(dtype: torch.dtype = torch.float32) -> Parameters:
    """The same at every call."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for name, shape in SHAPES.items()
    }


def groups_of(parameters: Parameters) -> list[ParameterGroup]:
    """The slow ones, and the others."""
    named = [NamedParameter(name=name, tensor=p, block=block_of(name)) for name, p in parameters.items()]
    slow = ParameterGroup(parameters=tuple(p for p in named if p.name in SLOW), multiplier=0.5)
    return [slow, ParameterGroup(parameters=tuple(p for p in named if p.name not in SLOW))]


def draw_gradients(parameters: Parameters, step: int) -> None:
    """The same for the same step."""
    generator = torch.Generator().manual_seed(100 + step)
    for p in parameters.values():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """As training does before a step."""
    from ontogeny.train.parameter_groups import set_learning_rate

    set_learning_rate(optimizer, rate)


def take_steps(kind: Optimizer, parameters: Parameters, rate: float, steps: int) -> torch.optim.Optimizer:
    """The optimizer after some steps, each on gradients of its own."""
    optimizer = kind.build(groups_of(parameters))
    for step in range(steps):
        draw_gradients(parameters, step)
        set_rates(optimizer, rate)
        optimizer.step()
    return optimizer


def take_torch_steps(optimizers: list[torch.optim.Optimizer], parameters: Parameters, steps: int) -> None:
    """The same with optimizers made by hand, whose rates are set already."""
    for step in range(steps):
        draw_gradients(parameters, step)
        for optimizer in optimizers:
            optimizer.step()


def assert_direction_is_the_step(kind: Optimizer, taken: int, rate: float = 0.03) -> None:
    """theta + rate x direction is the stepped theta to 1e-6, after some steps; nothing moves before."""
    parameters = make_parameters()
    optimizer = take_steps(kind, parameters, 0.01, taken)
    draw_gradients(parameters, taken)
    before = {id(p): p.detach().clone() for p in parameters.values()}
    direction = kind.update_direction(optimizer)
    assert len(direction) == len(parameters)
    assert all(torch.equal(before[id(p)], p) for p in parameters.values())
    expected = {id(p): before[id(p)] + rate * u for p, u in direction}
    set_rates(optimizer, rate)
    optimizer.step()
    assert all(not torch.equal(before[id(p)], p) for p in parameters.values())
    for p in parameters.values():
        assert float((p - expected[id(p)]).detach().abs().max()) < 1e-6


def assert_only_matrices_decay(kind: Optimizer, expected: Mapping[str, float], rate: float = 0.1) -> None:
    """With gradients of 0, every tensor is multiplied by the expected factor in one step."""
    parameters = make_parameters()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = kind.build(groups_of(parameters))
    for p in parameters.values():
        p.grad = torch.zeros_like(p)
    set_rates(optimizer, rate)
    optimizer.step()
    for name, p in parameters.items():
        assert torch.allclose(p, expected[name] * before[name], rtol=1e-6, atol=0), name


def assert_resumes_bit_for_bit(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, optimizer: dict[str, Any], **train: Any
) -> None:
    """Killed at step 10 of 12 with checkpoints at 4 and 8: the same run as one that nothing interrupts."""
    from ontogeny.core.recipe_file import validate
    from ontogeny.runs.execute import execute

    content = tree(write_text(tmp_path / "words"), measures=["evaluation"])
    content["train"] = content["train"] | {"optimizer": optimizer} | train
    recipe = validate(content, "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 10, monkeypatch)
    assert differences(whole, parts.path) == []
