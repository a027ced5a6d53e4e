"""What lies in the gradients before a backward pass and after it, at a few tensors: cleared, kept, or rescaled."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ontogeny.integrations.audit.reading import norms_of

if TYPE_CHECKING:
    from torch import Tensor

PROBES = 8
"""Tensors whose gradients are read."""
LARGEST = 1_000_000
"""Numbers of a tensor that is read, where there are smaller ones than that."""


class GradientRecorder:
    """Reads the norms of the gradients of a few tensors, at looked-at steps."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._probes: list[Any] = []
        self._left: list[float] | None = None
        """Norms just after the latest looked-at step; None once they were cleared, or where none was looked at."""
        self._known = False
        """Was the latest step looked at?"""
        self._added = False
        """Has a backward pass added to what that step left behind?"""
        self._behind: Tensor | None = None
        """Norms just after the latest backward pass."""

    def choose(self, model: Any, optimizer: Any) -> None:
        """Tensors of the model that the optimizer has, spread evenly over it; of moderate size, if there are such."""
        own = {id(p) for p in model.parameters() if p.requires_grad}
        listed = [p for group in optimizer.param_groups for p in group["params"] if id(p) in own and p.numel()]
        small = [p for p in listed if p.numel() <= LARGEST] or sorted(listed, key=lambda p: p.numel())[:1]
        count = min(PROBES, len(small))
        self._probes = [small[at * len(small) // count] for at in range(count)]

    @property
    def probing(self) -> bool:
        """Has the optimizer tensors of the model, so that clearing them is seen?"""
        return bool(self._probes)

    def accumulate(self) -> bool:
        """Called inside a backward pass: will it add to the gradients? `torch.autograd.grad` does not.

        False where torch does not tell.
        """
        import torch

        executes = getattr(torch._C, "_will_engine_execute_node", None)
        try:
            return executes is not None and any(
                executes(torch.autograd.graph.get_gradient_edge(p).node) for p in self._probes if p.requires_grad
            )
        except RuntimeError:  # so torch says that it gives a tensor's gradient to whoever asked for it
            return False

    def before_backward(self) -> bool:
        """Called when a backward pass has begun and has not reached the weights. Are the gradients cleared?"""
        import torch

        norms = self._norms().tolist()
        clear = not any(norms)
        if clear:
            self._left, self._added = None, False
        kept = self._left is not None and norms == self._left
        torch.autograd.Variable._execution_engine.queue_callback(functools.partial(self._finished, norms, kept))
        return clear

    def after_step(self) -> tuple[float, bool | None]:
        """Called just after a looked-at step.

        Returns the norm of the gradients that the optimizer got, as a share of what backward passes left in them (NaN
        if unknown); and whether the step before this one left gradients behind that this one took again (None if
        unknown).
        """
        norms = self._norms()
        behind, self._behind = self._behind, None
        now, then = float(norms.norm()), 0.0 if behind is None else float(behind.norm())
        again = self._added if self._known and behind is not None else None
        self._left, self._added, self._known = norms.tolist(), False, True
        return now / then if then > 0 else float("nan"), again

    def not_looked_at(self) -> None:
        """Called just after another step: what it left is not known."""
        self._left, self._added, self._behind, self._known = None, False, None, False

    def _finished(self, before: list[float], kept: bool) -> None:
        try:
            self._behind = self._norms()
            if kept and any(one and one != now for one, now in zip(before, self._behind.tolist(), strict=True)):
                self._added = True
        except Exception as error:  # noqa: BLE001 - the audited run goes on whatever happens in here
            self._note(f"gradients after a backward pass: {type(error).__name__}: {error}")

    def _norms(self) -> "Tensor":
        """L2 norm of each probe's gradient, on this process; 0 where there is none."""
        import torch

        given = [getattr(p.grad, "_local_tensor", p.grad) for p in self._probes]
        there = [one is not None and one.layout == torch.strided for one in given]
        known = iter(norms_of([one for one, is_there in zip(given, there, strict=True) if is_there]))
        norms = [next(known) if is_there else torch.zeros(()) for is_there in there]
        device = next((one.device for one in norms if one.device.type != "cpu"), torch.device("cpu"))
        widest = max((one.dtype for one in norms), key=lambda dtype: dtype.itemsize, default=None)
        return torch.stack([one.to(device, widest) for one in norms]) if norms else torch.zeros(1)
