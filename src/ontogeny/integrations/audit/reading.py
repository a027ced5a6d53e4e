"""What a recorder reads off tensors: targets, likelihoods, fingerprints. It changes nothing and draws no number."""

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.integrations.audit.recording import GradientTargets

if TYPE_CHECKING:
    from torch import Tensor

RATES = ("dropout", "dropout_p", "attn_dropout", "attention_dropout", "hidden_dropout", "activation_dropout")
"""Names under which modules hold a rate of dropout as a number."""
NO_IDS = re.compile("mask|position|segment|type|label|target", re.IGNORECASE)
"""Names of whole numbers that are no ids of tokens."""
NUMBERS = 256
"""Of each tensor, how many are kept to see how far it moves."""
NEGLIGIBLE = 1e-6
"""Share of a gradient that rounding leaves of 0, as at the bias of attention's keys, which softmax does not feel."""
MISFIT_ROWS = 64
"""Positions of a batch, evenly spread, at which the gradient is compared with that of a cross entropy."""


def targets_of(logits: "Tensor", normaliser: "Tensor", gradient: "Tensor") -> GradientTargets:
    """Which token each position is pulled towards, and how hard: from logits and gradient [B, T, V].

    `normaliser`: `log_normaliser` of the logits [B, T].
    With p = softmax(logits), y = argmin of the gradient g: weight w = -g_y / (1 - p_y). Where a target's probability is
    1 up to rounding, no gradient tells of it.
    """
    import torch

    with torch.no_grad():
        lowest, ids = gradient.min(dim=-1)
        pulled = lowest < 0
        here = logits.gather(-1, ids[..., None])[..., 0].float() - normaliser
        weight = torch.where(pulled, -lowest.float() / (-torch.expm1(here)).clamp_min(1e-12), 0.0)
        misfit, of_probabilities = 0.0, float("inf")
        rows = pulled.nonzero()
        if len(rows):
            rows = rows[torch.linspace(0, len(rows) - 1, min(MISFIT_ROWS, len(rows)), device=rows.device).long()]
            at = (rows[:, 0], rows[:, 1])
            here, found = logits[at].float().softmax(dim=-1), gradient[at].float()
            expected = _less_target(here, ids[at]) * weight[at][:, None]
            misfit = float((found - expected).norm() / expected.norm())
            of_probabilities = _as_of_probabilities(here, found, weight[at], ids[at])
        return GradientTargets(
            ids=numpy_of(torch.where(pulled, ids, -1)),
            weight=numpy_of(weight.double()),
            misfit=misfit,
            of_probabilities=of_probabilities,
        )


def _as_of_probabilities(probabilities: "Tensor", gradient: "Tensor", weight: "Tensor", ids: "Tensor") -> float:
    """See `GradientTargets.of_probabilities`; all of some positions, [N, V] or [N]."""
    slope = _less_target(probabilities.softmax(dim=-1), ids)
    expected = probabilities * (slope - (probabilities * slope).sum(dim=-1, keepdim=True))
    size = (gradient * expected).sum(dim=-1) / expected.square().sum(dim=-1)
    apart = float((gradient - expected * size[:, None]).norm() / gradient.norm())
    varies = float(weight.std() / weight.mean()) if len(ids) > 1 else 0.0
    return float(size.std() / size.mean().abs()) / varies if apart < 0.1 and varies > 0.02 else float("inf")


def _less_target(probabilities: "Tensor", ids: "Tensor") -> "Tensor":
    """[N, V] less 1 at each row's target: a cross entropy's gradient at its logits."""
    import torch

    found = probabilities.clone()
    found[torch.arange(len(ids)), ids] -= 1
    return found


def fused_targets(labels: "Tensor", supervised: "Tensor", gradient: "Tensor") -> GradientTargets:
    """The same, of a model that returns log-probabilities of its labels in place of logits, as TRL's do.

    `labels` [B, T]; `supervised` and the gradient at the log-probabilities [B, T - 1]. A gradient of the wrong sign
    (an advantage below 0) is no cross entropy: misfit is infinite.
    """
    import torch
    from torch.nn import functional as F

    with torch.no_grad():
        weight = torch.where(supervised, -gradient.double(), 0.0)
        ids = torch.where(supervised & (weight != 0), labels[:, 1:].to(weight.device), -1)
        misfit = float("inf") if bool((weight < 0).any()) else 0.0
        return GradientTargets(
            ids=numpy_of(F.pad(ids, (0, 1), value=-1)), weight=numpy_of(F.pad(weight, (0, 1))), misfit=misfit
        )


def log_normaliser(logits: "Tensor") -> "Tensor":
    """log sum exp of logits [B, T, V], float32 [B, T]; row by row, so that it takes little memory beside the logits."""
    import torch

    with torch.no_grad():
        return torch.stack([row.float().logsumexp(dim=-1) for row in logits])


def next_token_nll(logits: "Tensor", ids: "Tensor", normaliser: "Tensor | None" = None) -> np.ndarray | None:
    """NLL in nats of each token given the ones before it, float64 [B, T]; NaN at position 0.

    `normaliser`: `log_normaliser` of the logits, where it is known. None where an id is outside the vocabulary: on a
    GPU, looking it up would end the process.
    """
    import torch
    from torch.nn import functional as F

    with torch.no_grad():
        if bool((ids < 0).any()) or bool((ids >= logits.shape[-1]).any()):
            return None
        known = log_normaliser(logits) if normaliser is None else normaliser
        here = logits[:, :-1].gather(-1, ids[:, 1:, None].to(logits.device).long())[..., 0].float()
        nll = known[:, :-1] - here
        return numpy_of(F.pad(nll.double(), (1, 0), value=float("nan")))


def fused_nll(log_probs: "Tensor", supervised: "Tensor") -> np.ndarray:
    """The same from log-probabilities of labels [B, T - 1]; NaN where nothing is supervised."""
    import torch
    from torch.nn import functional as F

    nll = torch.where(supervised, -log_probs.detach().double(), float("nan"))
    return numpy_of(F.pad(nll, (1, 0), value=float("nan")))


def arguments(module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What a module (or one that torch.compile has wrapped) was called with, by name as far as its signature says."""
    inner = getattr(module, "_orig_mod", module)
    return {**dict(zip(inspect.signature(inner.forward).parameters, args, strict=False)), **kwargs}


def token_ids(given: Mapping[str, Any], shape: tuple[int, ...], *, decoder: bool) -> Any:
    """Ids that the logits [B, T, V] belong to; the first whole numbers of that shape where none are called so.

    None if there are none, as where a decoder makes its own from labels.
    """
    if "input_ids" in given or decoder:
        ids = given.get("decoder_input_ids" if decoder else "input_ids")
        return ids if ids is not None and tuple(ids.shape) == shape else None
    whole = (
        one
        for name, one in given.items()
        if not NO_IDS.search(name)
        and tuple(getattr(one, "shape", ())) == shape
        and not one.is_floating_point()
        and not one.is_complex()
    )
    return next(whole, None) if given.get("inputs_embeds") is None else None


def fingerprints(model: Any) -> dict[str, int]:
    """A number for the bits of each parameter: equal bits, equal numbers; one pass over the weights, no copy.

    Empty ones (held by another process) are left out.
    """
    return {name: fingerprint(p) for name, p in model.named_parameters() if p.numel()}


def fingerprint(tensor: "Tensor") -> int:
    """A number for its bits."""
    import torch

    words = {16: torch.int64, 8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}[tensor.element_size()]
    flat = tensor.detach().reshape(-1).view(words)
    return hash((int(flat.sum(dtype=torch.int64)), int((flat[::2]).sum(dtype=torch.int64))))


def some_numbers(model: Any) -> dict[str, "Tensor"]:
    """Of each trainable tensor, up to `NUMBERS` numbers spread over it: a copy, of 32 bits at least."""
    import torch

    found = {}
    for name, p in model.named_parameters():
        if p.requires_grad and p.numel() and p.is_floating_point():
            flat = getattr(p, "_local_tensor", p).detach().reshape(-1)
            wide = torch.float64 if p.dtype == torch.float64 else torch.float32  # not every device has 64 bits
            found[name] = flat[:: max(flat.numel() // NUMBERS, 1) | 1][:NUMBERS].to(wide, copy=True)
    return found


def relative_change(before: Mapping[str, "Tensor"], after: Mapping[str, "Tensor"]) -> float:
    """||after - before|| / ||before|| over all tensors that are in both; NaN where there is none."""
    both = [(before[name], now) for name, now in after.items() if name in before and before[name].shape == now.shape]
    moved, size = (
        sum(float(one.norm()) ** 2 for one in ones)
        for ones in ([now - then for then, now in both], [then for then, _ in both])
    )
    return math.sqrt(moved / size) if size > 0 else float("nan")


def norms_of(tensors: "Sequence[Tensor]") -> "list[Tensor]":
    """L2 norm of each, in 32 bits or in the 64 of its own; of what a sparse one holds, and of complex numbers, too."""
    import torch

    real = [_real(one.detach()) for one in tensors]
    found: dict[int, Tensor] = {}
    for width, dtype in ((False, torch.float32), (True, torch.float64)):
        places = [at for at, one in enumerate(real) if (one.dtype == torch.float64) == width]
        if places:
            norms = torch._foreach_norm([real[at] for at in places], dtype=dtype)
            found |= dict(zip(places, norms, strict=True))
    return [found[at] for at in range(len(real))]


def _real(tensor: "Tensor") -> "Tensor":
    import torch

    held = tensor.coalesce().values() if tensor.layout == torch.sparse_coo else tensor
    return torch.view_as_real(held.resolve_conj()) if held.is_complex() else held


def gradients(model: Any) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
    """Global L2 norm of a model's gradients, its tensors whose gradient is None or all zero, and those whose gradient
    is `NEGLIGIBLE` beside the whole.
    """
    import torch

    given = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    norms = dict.fromkeys((name for name, _ in model.named_parameters()), 0.0)
    if given:
        each = norms_of([gradient for _, gradient in given])
        widest = max((one.dtype for one in each), key=lambda dtype: dtype.itemsize)
        # One wait for the device, not many.
        whole = torch.stack([norm.to(each[0].device, widest) for norm in each]).tolist()
        norms |= dict(zip((name for name, _ in given), whole, strict=True))
    whole_norm = math.hypot(*norms.values())
    none = tuple(name for name, norm in norms.items() if not norm)
    return whole_norm, none, tuple(name for name, norm in norms.items() if 0 < norm < NEGLIGIBLE * whole_norm)


def has_dropout(model: Any) -> bool:
    """Has the model dropout that is not 0?"""
    return any(drops_out(module) for module in model.modules())


def drops_out(module: Any) -> bool:
    """Does this very module drop something out in train mode? A dropout layer, or attention and the like with a rate.

    `torch.nn.MultiheadAttention` and recurrent nets have no layer for it; one layer of a recurrent net drops nothing.
    """
    if "Drop" in type(module).__name__:
        return bool(getattr(module, "p", 0))
    if getattr(module, "num_layers", 2) == 1:
        return False
    own = vars(module)
    return any(isinstance(own.get(name), float) and 0 < own[name] < 1 for name in RATES)


def numpy_of(tensor: "Tensor") -> np.ndarray:
    """A copy of a tensor in memory of its own."""
    return tensor.detach().cpu().numpy().copy()
