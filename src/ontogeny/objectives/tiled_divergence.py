"""A divergence between a teacher's and a student's next-token distributions, a tile of positions at a time.

Of softmaxes and teacher's logits only one tile exists; in full there are the student's logits, which the model makes,
and the gradient into them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ontogeny.objectives.divergence import Divergence

TILE = 2**18
"""Logits per tile: small enough to stay in a core's cache."""
LOWEST = -1e4
"""Logits are not below this, so that probability 0 on both sides counts 0 and not infinity minus infinity."""


@dataclass(frozen=True, kw_only=True)
class TargetTile:
    """What teachers say at n positions: log probabilities [n, buckets] over all ids, or over some and the rest."""

    log_p: Tensor
    ids: Tensor | None = None
    """int64 [n, k]: the ids of the first k buckets; the last bucket is all other ids. None: a bucket is an id."""


Targets = Callable[[Tensor], TargetTile]
"""What teachers say at flat positions, int64 [n]."""


def tempered(logits: Tensor, temperature: float, vocabulary: int) -> Tensor:
    """log softmax(logits / temperature) over the first `vocabulary` ids, float32 or float64; ids behind have none."""
    wide = torch.promote_types(logits.dtype, torch.float32)
    return (logits[:, :vocabulary].to(wide) / temperature).clamp_(min=LOWEST).log_softmax(-1)


def summed(
    logits: Tensor,
    positions: Tensor,
    targets: Targets,
    divergence: Divergence,
    *,
    temperature: float = 1.0,
    vocabulary: int,
) -> Tensor:
    """Sum over positions of the divergence between targets and softmax(logits / temperature), in nats: a scalar.

    `logits` [N, V] are the student's at all flat positions, `positions` int64 [n] those that count; ids from
    `vocabulary` on have probability 0. The gradient into `logits` is worked out analytically, tile by tile.
    """
    with_gradient = torch.is_grad_enabled() and logits.requires_grad
    total: Tensor = _Summed.apply(logits, positions, targets, divergence, temperature, vocabulary, with_gradient)
    return total


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        positions: Tensor,
        targets: Targets,
        divergence: Divergence,
        temperature: float,
        vocabulary: int,
        with_gradient: bool,
    ) -> Tensor:
        """The sum; the gradient is kept, since teachers and softmaxes are at hand now."""
        wide = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=wide, device=logits.device)
        gradient = torch.zeros_like(logits) if with_gradient else None
        for rows in positions.split(max(TILE // vocabulary, 1)):
            target = targets(rows)
            log_q = tempered(logits.index_select(0, rows), temperature, vocabulary)
            values, slopes = _compare(target, log_q, divergence, with_gradient)
            total += values.sum()
            if gradient is not None and slopes is not None:
                gradient[:, :vocabulary].index_copy_(0, rows, slopes.div_(temperature).to(gradient.dtype))
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradient times what comes from above."""
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined] # torch adds it to the class it really passes
        return gradient * upstream[0].to(gradient.dtype), None, None, None, None, None, None


def _compare(
    target: TargetTile, log_q: Tensor, divergence: Divergence, with_slopes: bool
) -> tuple[Tensor, Tensor | None]:
    """Values [n], and slopes [n, ids] by the tempered logits of every id."""
    log_p, ids = target.log_p.to(log_q.dtype), target.ids
    if ids is None:
        return divergence.values(log_p, log_q), divergence.slopes(log_p, log_q) if with_slopes else None
    rest = log_q.exp().scatter_(1, ids, 0.0)
    log_rest = log_of_mass(rest.sum(-1, keepdim=True))
    buckets = torch.cat([log_q.gather(1, ids), log_rest], dim=1)
    values = divergence.values(log_p, buckets)
    if not with_slopes:
        return values, None
    slopes = divergence.slopes(log_p, buckets)
    # An id in the rest has its share of the rest's slope.
    return values, rest.mul_(slopes[:, -1:] / log_rest.exp()).scatter_(1, ids, slopes[:, :-1])


def log_of_mass(mass: Tensor) -> Tensor:
    """log of probabilities that may be 0, of which the smallest number above 0 stands."""
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()


def top_k_of(log_p: Tensor, k: int) -> TargetTile:
    """The k most probable ids of each row, and one bucket for all others, from log probabilities [n, ids]."""
    kept, ids = log_p.topk(k, dim=1, sorted=False)
    rest = log_p.exp().scatter_(1, ids, 0.0).sum(-1, keepdim=True)
    return TargetTile(log_p=torch.cat([kept, log_of_mass(rest)], dim=1), ids=ids)
