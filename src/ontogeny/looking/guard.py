"""Look at a model and leave it exactly as it was."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn

_DEPTH = 3
"""Of containers in containers that a module holds, how many are put back."""
_ABSENT = object()


@contextmanager
def untouched(model: "nn.Module", *, parameters: bool = False, also: "Iterable[nn.Module]" = ()) -> "Iterator[State]":
    """Restore, on leaving, all that a look may have changed; also when it raises. Gives what it will restore.

    Restored exactly: training mode of every submodule; `requires_grad`; gradients (inside they are None, afterwards
    the same tensor objects as before); what each submodule holds under each name (parameters, buffers, and attributes
    that are tensors or numbers: the same objects), with the values of all but parameters, as a state that a forward
    pass keeps;
    random-number generators of torch (CPU and CUDA), numpy and python. With `parameters`, the values of parameters
    too, from a copy of them (memory: once the model). The same of `also`, trainable parts of loss terms.

    Inside, there is no autocast, neither around nor in a forward that training has wrapped: a look sees the model that
    a checkpoint holds.
    """
    import torch

    roots = (model, *also)
    modes = [(module, module.training) for root in roots for module in root.modules()]
    held = [(parameter, parameter.requires_grad, parameter.grad) for root in roots for parameter in root.parameters()]
    state = State(model, parameters=parameters)
    states = [state, *(State(module, parameters=parameters) for module in also)]
    generators = _generator_states()
    for parameter, _, _ in held:
        parameter.grad = None
    if not (hasattr(model, "_hf_hook") or hasattr(model, "_orig_mod")):  # torch.compile's wrapper has no other forward
        model.__dict__.pop("forward", None)
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield state
    finally:
        _put_back_generators(generators)
        for kept in states:
            kept.put_back()
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
def looking(model: "nn.Module", *, parameters: bool = False) -> Iterator[None]:
    """`untouched`, in evaluation mode and without gradients."""
    import torch

    with untouched(model, parameters=parameters), torch.no_grad():
        model.eval()
        yield


class State:
    """What the modules of a model hold, by module and name: objects, and values of tensors."""

    def __init__(self, model: "nn.Module", *, parameters: bool) -> None:
        import torch

        everywhere = frozenset(vars(torch.nn.Module()))  # what torch itself keeps in each module: modes, hooks, parts
        self._names: list[tuple[dict[str, Any], dict[str, Any], frozenset[str]]] = []
        self._contents: list[tuple[Any, Any]] = []
        self._values: dict[int, tuple[Tensor, Tensor, Tensor | None]] = {}
        self._parameters = parameters
        for module in model.modules():
            for holder, left in (
                (vars(module), everywhere),
                (module._parameters, frozenset[str]()),
                (module._buffers, frozenset[str]()),
            ):
                kept = {name: value for name, value in holder.items() if name not in left}
                self._names.append((holder, kept, left))
                for value in kept.values():
                    self._keep(value)

    def before(self, tensor: "Tensor") -> "Tensor | None":
        """A copy of what a tensor held; None without one."""
        return self._values[id(tensor)][2] if id(tensor) in self._values else None

    def put_back(self) -> None:
        """Hold the same objects under the same names, with the values that they had."""
        for holder, kept, left in self._names:
            for name in [*kept, *(name for name in holder if name not in kept and name not in left)]:
                if holder.get(name, _ABSENT) is not kept.get(name, _ABSENT) and (
                    _is_state(kept.get(name)) or _is_state(holder.get(name)) or name == "forward"
                ):
                    if name in kept:
                        holder[name] = kept[name]
                    else:
                        del holder[name]
        for container, contents in self._contents:
            if _is_state(container) or _is_state(contents):
                container.clear()
                (container.extend if isinstance(container, list) else container.update)(contents)
        for tensor, data, copy in self._values.values():
            _put_back_value(tensor, data, copy)

    def _keep(self, value: Any, depth: int = 0) -> None:
        import torch

        if isinstance(value, torch.Tensor):
            is_parameter = isinstance(value, torch.nn.Parameter)
            copied = self._parameters or not is_parameter
            if _is_plain(value) or (copied and is_parameter):
                self._values[id(value)] = value, value.data, value.detach().clone() if copied else None
        elif depth < _DEPTH and type(value) in (list, dict, tuple):
            if type(value) is not tuple:
                self._contents.append((value, value.copy()))
            for part in value.values() if isinstance(value, dict) else value:
                self._keep(part, depth + 1)


def _is_state(value: Any, depth: int = 0) -> bool:
    """Is it a tensor or a number, or has it any? Else it may belong to hooks that libraries set when they are needed.

    So a flag that says that they are set: it stays, as they do.
    """
    import torch

    if isinstance(value, list | tuple | dict) and depth < _DEPTH:
        return any(_is_state(part, depth + 1) for part in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, torch.Tensor | int | float) and not isinstance(value, bool)


def _is_plain(tensor: "Tensor") -> bool:
    """Has it numbers in memory? Not so those of libraries for quantisation, of vmap, or parts that FSDP has let go."""
    import torch

    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and tensor.layout == torch.strided
        and tensor.device.type != "meta"
        and (tensor.numel() == 0 or tensor.untyped_storage().nbytes() > 0)
    )


def _put_back_value(tensor: "Tensor", data: "Tensor", copy: "Tensor | None") -> None:
    """The memory that it had, of the shape that it had; and, with a copy, the numbers, written only if they differ."""
    import torch

    if not _is_plain(data):
        if copy is not None:
            tensor.data.copy_(copy)
        return
    if _place(tensor) != _place(data):
        tensor.data = data
    if copy is not None and not torch.equal(data, copy):
        data.copy_(copy)


def _place(tensor: "Tensor") -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


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
