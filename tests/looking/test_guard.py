import random
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.looking.guard import looking, untouched
from tests.measures.small import make_model


def disturb(model: Any) -> None:
    """Everything that a look may do to a model and to the process."""
    model.eval()
    model.gpt_neox.layers[0].train()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    model(input_ids=torch.arange(6)[None]).logits.sum().backward()
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)


def prepared() -> Any:
    """Half in training, some gradients, one frozen parameter."""
    model = make_model().train()
    model.gpt_neox.layers[1].eval()
    model.gpt_neox.final_layer_norm.bias.requires_grad_(False)
    for index, parameter in enumerate(model.parameters()):
        if index % 2 and parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, float(index))
    return model


def state_of(model: Any) -> tuple[Any, ...]:
    numbers = np.random.get_state()
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()],
        torch.get_rng_state().tolist(),
        (numbers[1].tolist(), numbers[2]),
        random.getstate(),
        [tensor.tolist() for tensor in model.state_dict().values()],
    )


def test_everything_is_as_before() -> None:
    model = prepared()
    before = state_of(model)
    with untouched(model):
        assert all(parameter.grad is None for parameter in model.parameters())
        disturb(model)
    assert state_of(model) == before


def test_everything_is_as_before_after_an_error() -> None:
    model = prepared()
    before = state_of(model)

    def fail() -> None:
        with untouched(model):
            disturb(model)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert state_of(model) == before


def test_without_the_guard_the_disturbance_shows() -> None:
    model = prepared()
    before = state_of(model)
    disturb(model)
    after = state_of(model)
    assert [a == b for a, b in zip(after, before, strict=True)] == [False] * 6 + [True]  # weights alone stay


def test_parameters_come_back_where_a_copy_was_asked_for() -> None:
    model = prepared()
    before = state_of(model)
    places = [parameter.data_ptr() for parameter in model.parameters()]
    with untouched(model, parameters=True), torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert state_of(model) == before
    assert [parameter.data_ptr() for parameter in model.parameters()] == places


def test_looking_is_evaluation_without_gradients() -> None:
    model = prepared()
    with looking(model):
        assert not any(module.training for module in model.modules())
        assert not model(input_ids=torch.arange(6)[None]).logits.requires_grad
    assert model.training


def test_autocast_of_training_is_lifted_around_and_inside_the_forward() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    model = make_model(dropout=0.0)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        exact = model(input_ids=ids).logits
        AcceleratorState._reset_state()
        Accelerator(mixed_precision="bf16", cpu=True).prepare(model)
        AcceleratorState._reset_state()
        wrapped = model.forward
        assert not torch.equal(model(input_ids=ids).logits, exact)  # bf16 really is on in training
        with torch.autocast("cpu", dtype=torch.bfloat16), untouched(model):
            assert torch.equal(model(input_ids=ids).logits, exact)
    assert model.forward is wrapped


class Keeps(torch.nn.Module):
    """A forward pass that keeps a state in every place where a module may hold one, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        self.average = torch.nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("written", torch.zeros(4))
        self.register_buffer("replaced", torch.zeros(4))
        self.register_buffer("grown", torch.zeros(0))
        self.state: torch.Tensor | None = None
        self.pair = (torch.zeros(4), torch.zeros(4))
        self.losses: list[torch.Tensor] = []
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.layer(x)
        with torch.no_grad():
            self.average.weight.lerp_(self.layer.weight, 0.1)
            self.written.add_(out[0])
            self.replaced = self.replaced + out[0]
            self.grown.resize_(4).copy_(out[0])
            self.pair[0].add_(1)
            self.state = out.detach() if self.state is None else self.state.add_(1)
        self.losses.append(out.mean())
        self.calls += 1
        return out  # type: ignore[no-any-return]


def kept_by(model: Keeps) -> list[Any]:
    tensors = [model.average.weight, model.written, model.replaced, model.grown, *model.pair, model.state]
    seen = [(id(one), None if one is None else (one.tolist(), one.data_ptr())) for one in tensors]
    return [*seen, [id(one) for one in model.losses], model.calls, sorted(vars(model))]


@pytest.mark.parametrize("passes", [0, 1])
def test_a_state_that_a_forward_pass_keeps_in_evaluation_mode_comes_back(passes: int) -> None:
    model = Keeps()
    for _ in range(passes):
        model(torch.ones(2, 4))
    before = kept_by(model)
    with looking(model, parameters=True):
        for _ in range(3):
            model(torch.ones(2, 4))
        model.new = torch.ones(1)
        assert kept_by(model) != before
    assert kept_by(model) == before


def test_buffers_that_were_replaced_by_rounded_ones_come_back() -> None:
    model = Keeps()
    model.written.fill_(0.1)
    before, held = kept_by(model), [id(one) for one in model.parameters()]
    with untouched(model, parameters=True):
        model.bfloat16()
        model.float()
        assert float(model.written[0]) != float(torch.tensor(0.1))
    assert kept_by(model) == before
    assert [id(one) for one in model.parameters()] == held
    with untouched(model):
        model.bfloat16()
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert kept_by(model) == before


def test_tensors_without_memory_are_left_alone() -> None:
    model = Keeps()
    with torch.inference_mode():
        model.state = torch.ones(4)
    model.pair = (torch.ones(1).expand(4), torch.empty(4, device="meta"))
    torch.func.grad(lambda x: setattr(model, "inside", x) or x.sum())(torch.ones(3))
    held = model.state
    with looking(model):
        pass
    assert model.state is held
