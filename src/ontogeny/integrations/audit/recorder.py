"""Listens to a training loop through hooks, and never touches it: whatever goes wrong in here, the run goes on."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.recording import Forward, Recording, Step, Targets, Tensors

if TYPE_CHECKING:
    from torch import Tensor

MISFIT_ROWS = 64
"""Positions of a batch at which the gradient is compared with that of a cross entropy."""


def _harmless(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that cannot break the loop: its errors are noted, and it returns nothing."""

    @functools.wraps(method)
    def guarded(self: "Recorder", *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the audited run goes on whatever happens in here
            self.note(f"{method.__name__.strip('_')}: {type(error).__name__}: {error}")

    return guarded


class Recorder:
    """Writes a `Recording` of a model and an optimizer, from `start` to `stop`.

    In detail are looked at: the first `first` optimizer steps, and after that every `every`-th. Of the others only
    counts and learning rates are kept. A look adds to a step: one cross entropy over its logits in the forward pass,
    two reductions over the gradient at the logits, and one pass over the gradients; nothing that the loop computes is
    changed, and no random number is drawn.
    """

    def __init__(self, model: Any, optimizer: Any, *, first: int, every: int) -> None:
        self.model, self.optimizer = model, optimizer
        self.first, self.every = first, every
        self.seen = Recording(dropout=_has_dropout(model))
        self._handles: list[Any] = []
        self._start_bits: dict[str, int] = {}
        self._frozen: frozenset[str] = frozenset()
        self._backwards_before = 0
        self._open: Forward | None = None

    def start(self) -> None:
        """Attach the hooks, and take the fingerprints of all tensors."""
        self._begin()
        self._handles = [
            self.model.register_forward_hook(self._after_forward, with_kwargs=True),
            self.optimizer.register_step_pre_hook(self._before_step),
        ]

    def stop(self) -> None:
        """Detach the hooks, and see which tensors have moved."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._end()

    @_harmless
    def watch(self, named: Mapping[str, Any]) -> None:
        """Keep what the user names, with the step at which it was named."""
        for name, value in named.items():
            self.seen.watched.setdefault(name, []).append((len(self.seen.steps), value))

    def note(self, mishap: str) -> None:
        """Keep an error of the audit's own, once."""
        if mishap not in self.seen.mishaps:
            self.seen.mishaps.append(mishap)

    @property
    def looking(self) -> bool:
        """Is the present step looked at in detail?"""
        step = len(self.seen.steps)
        return step < self.first or step % self.every == 0

    @_harmless
    def _begin(self) -> None:
        self._start_bits = fingerprints(self.model)
        self._frozen = frozenset(name for name, p in self.model.named_parameters() if not p.requires_grad)

    @_harmless
    def _end(self) -> None:
        now = fingerprints(self.model)
        optimized = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        named = list(self.model.named_parameters())
        self.seen.tensors = Tensors(
            trainable=frozenset(name for name, p in named if p.requires_grad),
            optimized=frozenset(name for name, p in named if id(p) in optimized),
            moved=frozenset(name for name, bits in now.items() if bits != self._start_bits.get(name)),
            frozen_at_start=self._frozen,
        )

    @_harmless
    def _after_forward(self, module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        logits = _logits_of(output)
        if logits is None or not logits.requires_grad:
            return
        self.seen.forwards_in_training += 1
        forward = Forward(step=len(self.seen.steps), training=bool(module.training))
        if self.looking:
            given = inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments
            given = {**given, **given.pop("kwargs", {})}
            self._describe(forward, given.get("input_ids"), given, output, logits)
            self.seen.forwards.append(forward)
        held = logits.detach() if self.looking and forward.input_ids is not None else None
        logits.register_hook(functools.partial(self._after_backward, forward, held))

    def _describe(
        self, forward: Forward, ids: "Tensor | None", given: Mapping[str, Any], output: Any, logits: "Tensor"
    ) -> None:
        forward.vocabulary = int(logits.shape[-1])
        loss = getattr(output, "loss", None)
        forward.loss = None if loss is None or loss.ndim else float(loss.detach())
        if ids is None or ids.shape != logits.shape[:2]:
            return
        forward.input_ids = _numpy(ids)
        for name in ("attention_mask", "labels", "position_ids"):
            value = given.get(name)
            if value is not None and value.ndim == 2:
                setattr(forward, name, _numpy(value))
        forward.nll = next_token_nll(logits.detach(), ids)

    @_harmless
    def _after_backward(self, forward: Forward, logits: "Tensor | None", gradient: "Tensor") -> None:
        if not forward.backward:
            forward.backward = True
            self.seen.backwards += 1
        if logits is not None:
            forward.targets = targets_of(logits, gradient)

    @_harmless
    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        norm, without = float("nan"), tuple[str, ...]()
        if self.looking:
            norm, without = self._gradients()
        self.seen.steps.append(
            Step(
                number=len(self.seen.steps),
                backwards=self.seen.backwards - self._backwards_before,
                learning_rates=tuple(float(group["lr"]) for group in optimizer.param_groups),
                grad_norm=norm,
                without_gradient=without,
            )
        )
        self._backwards_before = self.seen.backwards

    def _gradients(self) -> tuple[float, tuple[str, ...]]:
        import torch

        without, norms = [], []
        for name, p in self.model.named_parameters():
            norm = None if p.grad is None else torch.linalg.vector_norm(p.grad.detach().float())
            if norm is not None:
                norms.append(norm)
            if p.requires_grad and (norm is None or not float(norm)):
                without.append(name)
        total = float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
        return total, tuple(without)


def targets_of(logits: "Tensor", gradient: "Tensor") -> Targets:
    """Which token each position is pulled towards, and how hard: from logits and gradient [B, T, V].

    With p = softmax(logits), y = argmin of the gradient g: weight w = -g_y / (1 - p_y). Where a target's probability is
    1 up to rounding, no gradient tells of it.
    """
    import torch

    with torch.no_grad():
        lowest, ids = gradient.min(dim=-1)
        pulled = lowest < 0
        here = logits.float().gather(-1, ids[..., None])[..., 0] - logits.float().logsumexp(dim=-1)
        weight = torch.where(pulled, -lowest.float() / (-torch.expm1(here)).clamp_min(1e-12), 0.0)
        misfit = 0.0
        rows = pulled.nonzero()[:MISFIT_ROWS]
        if len(rows):
            at = (rows[:, 0], rows[:, 1])
            expected = logits[at].float().softmax(dim=-1)
            expected[torch.arange(len(rows)), ids[at]] -= 1
            expected *= weight[at][:, None]
            misfit = float((gradient[at].float() - expected).norm() / expected.norm())
        return Targets(ids=_numpy(torch.where(pulled, ids, -1)), weight=_numpy(weight.double()), misfit=misfit)


def next_token_nll(logits: "Tensor", ids: "Tensor") -> np.ndarray:
    """NLL in nats of each token given the ones before it, float64 [B, T]; NaN at position 0."""
    import torch
    from torch.nn import functional as F

    with torch.no_grad():
        flat = F.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten().to(logits.device), reduction="none"
        )
        nll = flat.view(len(ids), -1)
        return _numpy(F.pad(nll.double(), (1, 0), value=float("nan")))


def fingerprints(model: Any) -> dict[str, int]:
    """A number for the bits of each parameter: equal bits, equal numbers; one pass over the weights, no copy."""
    import torch

    found = {}
    for name, p in model.named_parameters():
        words = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}[p.element_size()]
        flat = p.detach().reshape(-1).view(words)
        found[name] = hash((int(flat.sum(dtype=torch.int64)), int((flat[::2]).sum(dtype=torch.int64))))
    return found


def _logits_of(output: Any) -> Any:
    logits = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", output)
    return logits if getattr(logits, "ndim", 0) == 3 else None


def _numpy(tensor: "Tensor") -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _has_dropout(model: Any) -> bool:
    return any(getattr(module, "p", 0) for module in model.modules() if "Drop" in type(module).__name__)
