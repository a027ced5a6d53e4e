"""Where a recorder listens: the module that gives logits, the optimizer that steps, tensors that gradients reach."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit.seen import SchedulerPlan

if TYPE_CHECKING:
    from torch import Tensor

MORE_THAN_EPOCHS = 100
"""A language model is not trained for so many epochs: a schedule of that length counts optimizer steps."""


class Hook:
    """A hook of a module that is silent while torch.compile traces through it, and so is no part of what it compiles.

    It belongs to that very module: in a copy of it, and in a file that it is written to as a whole, stands a function
    of Python's own in its place, which takes anything and does nothing. What is read from the file needs no ontogeny.
    """

    def __init__(self, heard: Callable[..., Any]) -> None:
        self.heard = heard

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what listens."""
        import torch

        return None if torch.compiler.is_compiling() else self.heard(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """What stands for it in a copy or a file."""
        return getattr, (nullcontext(), "__exit__")


def in_transform() -> bool:
    """Is a transform of torch.func (vmap, grad) going on? Its tensors have no numbers to look at."""
    import torch

    return torch._C._functorch.peek_interpreter_stack() is not None


def language_model(model: Any, optimized: Collection[int] = ()) -> Any:
    """The outermost module with an output embedding, as Hugging Face models have; the model itself without one.

    A wrapper (a LightningModule, say) is often not called itself, only the model inside it. Of several (student and
    teacher), the first one with a parameter among those that are optimized, given by `id`.
    """
    found = [module for module in model.modules() if head_of(module) is not None]
    trained = (module for module in found if any(id(p) in optimized for p in module.parameters()))
    return next(trained, found[0] if found else model)


def optimized(optimizers: Iterable[Any]) -> frozenset[int]:
    """By `id`, the parameters that these optimizers have and that a gradient may arrive at."""
    groups = (group for one in optimizers for group in getattr(one, "param_groups", ()))
    return frozenset(id(p) for group in groups for p in group["params"] if p.requires_grad)


def head_of(module: Any) -> Any:
    """A model's output embedding; None where it has none or does not say."""
    try:
        return module.get_output_embeddings()
    except Exception:  # noqa: BLE001 - whatever a model's own code raises, it has none to show
        return None


def stepping(optimizer: Any) -> Any:
    """The optimizer inside wrappers (Accelerate's, Lightning's), whose steps can be heard; None if there is none.

    One that has a `base_optimizer` (SAM, Lookahead) lets it take the steps, and may never take one itself.
    """
    for _ in range(4):
        base = getattr(optimizer, "base_optimizer", None)
        if hasattr(base, "_optimizer_step_post_hooks"):
            return base
        if hasattr(optimizer, "_optimizer_step_post_hooks"):
            return optimizer
        optimizer = getattr(optimizer, "optimizer", None)
    return None


def optimizer_name(optimizer: object) -> str:
    """Name of an optimizer's class, inside wrappers."""
    inner = stepping(optimizer)
    return type(optimizer if inner is None else inner).__name__


def scheduler_steps(scheduler: Any) -> int | None:
    """Steps that a learning-rate scheduler has taken, inside a wrapper or not; None where it does not count them."""
    taken = getattr(getattr(scheduler, "scheduler", scheduler), "last_epoch", None)
    return int(taken) if isinstance(taken, int) else None


def schedule_of(scheduler: Any, *, steps: int) -> SchedulerPlan | None:
    """What a learning-rate scheduler plans, inside a wrapper or not; None where it does not count its steps."""
    begins = scheduler_steps(scheduler)
    if begins is None:
        return None
    inner = getattr(scheduler, "scheduler", scheduler)
    kind, horizon = type(inner).__name__, _horizon(inner)
    of_transformers = any(_module(one).startswith("transformers") for one in getattr(inner, "lr_lambdas", ()))
    often = of_transformers or kind in ("OneCycleLR", "CyclicLR") or (horizon or 0) >= MORE_THAN_EPOCHS
    return SchedulerPlan(kind=kind, begins=begins, steps_before=steps, horizon=horizon, for_each_step=often)


def _horizon(scheduler: Any, depth: int = 0) -> int | None:
    """Steps of its own after which a schedule ends; None where it does not say."""
    chain, ends = getattr(scheduler, "_schedulers", None), getattr(scheduler, "_milestones", None)
    if chain and ends and depth < 3:
        last = _horizon(chain[-1], depth + 1)
        return None if last is None else int(ends[-1]) + last
    for one in getattr(scheduler, "lr_lambdas", ()):
        planned = getattr(one, "keywords", {}).get("num_training_steps")
        if planned is not None:
            return int(planned)
    found = (getattr(scheduler, name, None) for name in ("T_max", "total_steps", "total_iters"))
    return next((int(one) for one in found if isinstance(one, int)), None)


def _module(function: Any) -> str:
    return str(getattr(getattr(function, "func", function), "__module__", ""))


def loss_scale() -> float:
    """What a `torch.amp.GradScaler` multiplies the loss by, asked while it lets the optimizer step; 1 without one.

    It is found among the callers: nothing else says which scaler an optimizer belongs to. Of no other caller are the
    locals read, which would keep its tensors alive.
    """
    frame = sys._getframe()
    for _ in range(24):
        if frame.f_code.co_filename.endswith("grad_scaler.py"):
            ask = getattr(frame.f_locals.get("self"), "get_scale", None)
            if ask is not None:
                return float(ask())
        if frame.f_back is None:
            break
        frame = frame.f_back
    return 1.0


def logits_of(output: Any, module: Any) -> Any:
    """Logits [B, T, V] of what a module returned; None if it has none.

    Of several such tensors without a name, those as wide as a table of embeddings: the others are hidden states.
    """
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    if isinstance(logits, tuple | list):
        found = [one for one in logits if getattr(one, "ndim", 0) == 3 and one.is_floating_point()]
        widths = _vocabularies(module) if len(found) > 1 else ()
        logits = next((one for one in found if one.shape[-1] in widths), found[0] if found else None)
    return logits if getattr(logits, "ndim", 0) == 3 else None


def _vocabularies(module: Any) -> set[int]:
    import torch

    return {one.num_embeddings for one in module.modules() if isinstance(one, torch.nn.Embedding)}


def carries_gradient(tensor: Any) -> bool:
    """Is it a tensor that a gradient may arrive at?"""
    return bool(getattr(tensor, "requires_grad", False))


def gradient_carrier(output: Any) -> list[Any]:
    """The first tensor of a model's output that a gradient may arrive at; empty if there is none."""
    return [one for one in _tensors(output) if carries_gradient(one)][:1]


def _tensors(output: Any, depth: int = 0) -> Iterator[Any]:
    if hasattr(output, "requires_grad"):
        yield output
    elif depth < 3 and isinstance(output, Mapping | list | tuple):
        for one in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(one, depth + 1)


def backward_pass() -> int | None:
    """A number of the backward pass that is going on; None where torch does not tell."""
    import torch

    current = getattr(torch._C, "_current_graph_task_id", None)
    return None if current is None else int(current())


@dataclass
class Head:
    """Output of an output embedding: the same numbers as the logits, before a trainer casts or copies them.

    Under mixed precision a trainer hands on a copy of the logits in float32 while the loss inside the model is computed
    from the original, so that a gradient arrives only here.
    """

    shape: tuple[int, ...]
    corner: "Tensor"
    """Logits of the first position [V]."""
    gradient_arrives: Callable[["Tensor"], None] | None = None
    """Set when it is known to which forward pass it belongs."""

    def hear(self, gradient: "Tensor") -> None:
        """Pass a gradient on."""
        if self.gradient_arrives is not None:
            self.gradient_arrives(gradient)

    def gives(self, logits: "Tensor") -> bool:
        """Are these logits this output, but for a cast?"""
        import torch

        return self.shape == tuple(logits.shape) and torch.equal(self.corner.float(), logits[0, 0].detach().float())
