"""Look at a model and leave it exactly as it was."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


@contextmanager
def untouched(model: Any, *, parameters: bool = False) -> Iterator[None]:
    """Restore, on leaving, all that a look may have changed; also when it raises.

    Restored exactly: training mode of every submodule; `requires_grad`; gradients (inside they are None, afterwards
    the same tensor objects as before); random-number generators of torch (CPU and CUDA), numpy and python. With
    `parameters`, parameters and buffers too, from a copy of them (memory: once the model).

    Inside, there is no autocast, neither around nor in a forward that training has wrapped: a look sees the model that
    a checkpoint holds.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    held = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    copies = [(t, t.detach().clone()) for t in (*model.parameters(), *model.buffers())] if parameters else []
    generators = _generator_states()
    for parameter, _, _ in held:
        parameter.grad = None
    kept = hasattr(model, "_hf_hook") or hasattr(model, "_orig_mod")  # torch.compile's wrapper has no forward but this
    wrapper = None if kept else model.__dict__.pop("forward", None)
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        if wrapper is not None:
            model.__dict__["forward"] = wrapper
        _put_back_generators(generators)
        for tensor, copy in copies:
            tensor.data.copy_(copy)
        for parameter, requires_grad, gradient in held:
            parameter.requires_grad_(requires_grad)
            parameter.grad = gradient
        for module, mode in modes:
            module.training = mode


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Restore, on leaving, the generators of torch, numpy and python."""
    generators = _generator_states()
    try:
        yield
    finally:
        _put_back_generators(generators)


@contextmanager
def looking(model: Any) -> Iterator[None]:
    """`untouched`, in evaluation mode and without gradients."""
    import torch

    with untouched(model), torch.no_grad():
        model.eval()
        yield


def _generator_states() -> tuple[Any, list[Any], Any, Any]:
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()


def _put_back_generators(states: tuple[Any, list[Any], Any, Any]) -> None:
    import torch

    cpu, cuda, of_numpy, of_python = states
    torch.set_rng_state(cpu)
    if cuda:
        torch.cuda.set_rng_state_all(cuda)
    np.random.set_state(of_numpy)
    random.setstate(of_python)
