"""A divergence between a teacher's and a student's next-token distributions, a tile of positions at a time.

Of softmaxes only a tile exists, of the teacher's logits a block of tiles; in full there are the student's logits, which
the model makes, and the gradient into them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ontogeny.objectives.divergence import Distribution, Divergence

TILE = 2**18
"""Logits per tile: small enough for the few tensors of that size to stay in a core's cache."""
ROWS = 256
"""Positions of a teacher whose logits are made at once. A product of 32 rows with a head of 32,000 ids took twice as
long a position as one of 128; one of 512, no less."""
LOWEST = -1e4
"""Logits less their row's greatest are not below this, so that probability 0 on both sides counts 0 and not infinity
minus infinity."""
SMALL = 1e-30
"""A mass below this has lost its digits in float32."""


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """A distribution over buckets of token ids, at n positions."""

    distribution: Distribution
    """[n, buckets]."""
    ids: Tensor | None = None
    """int64 [n, k]: the ids of the first k buckets; the last bucket is all other ids. None: a bucket is an id."""

    def against(self, student: "Softmax", divergence: Divergence, with_slopes: bool) -> tuple[Tensor, Tensor | None]:
        """As `Target` says."""
        p = self.distribution
        if self.ids is None:
            q = student.over_ids()
            return divergence.between(p, q), divergence.slopes(p, q) if with_slopes else None
        q, rest = student.over_buckets(self.ids)
        values = divergence.between(p, q)
        if not with_slopes:
            return values, None
        slopes = divergence.slopes(p, q)
        return values, rest.times(slopes[:, -1:]).scatter_(1, self.ids, slopes[:, :-1])


class Target(Protocol):
    """What teachers say at n positions."""

    def against(self, student: "Softmax", divergence: Divergence, with_slopes: bool) -> tuple[Tensor, Tensor | None]:
        """The divergence from it to the student, [n], and slopes [n, ids] by the student's tempered logits."""
        ...


class Taught(Protocol):
    """What teachers say at a block of positions."""

    def at(self, rows: slice, temperature: float, top_k: int | None) -> Target:
        """At some of these positions. `top_k`: how many ids have buckets of their own; None for all."""
        ...


Teaching = Callable[[Tensor], Taught]
"""What teachers say at flat positions, int64 [n]."""


@dataclass(frozen=True, kw_only=True)
class DivergenceSettings:
    """How a teacher and a student are compared."""

    divergence: Divergence
    temperature: float = 1.0
    top_k: int | None = None
    """None: all ids are compared."""
    vocabulary: int
    """Ids from here on have probability 0."""
    every: int | None = 1
    """KL(P || Q) at temperature 1 is taken of every so many-th position; None: not at all."""

    @property
    def is_kl_at_1(self) -> bool:
        """Is it KL(P || Q) at temperature 1 over all ids?"""
        return self.divergence.direction == "forward" and self.temperature == 1 and self.top_k is None


class Softmax:
    """softmax(logits / temperature) over the first `vocabulary` ids, in float32 or float64: one exponential an id.

    The log of its normaliser is the greatest logit less the log of the greatest probability.
    """

    def __init__(self, logits: Tensor, temperature: float, vocabulary: int) -> None:
        wide = logits[:, :vocabulary].to(torch.promote_types(logits.dtype, torch.float32))
        scaled = wide - wide.amax(-1, keepdim=True)  # first: large logits have no digits to lose afterwards
        if temperature != 1:
            scaled /= temperature
        self._scaled = scaled.clamp_(min=LOWEST)
        self._probabilities = self._scaled.softmax(-1)
        self._log_z = -self._probabilities.amax(-1, keepdim=True).log_()

    @property
    def probabilities(self) -> Tensor:
        """[n, vocabulary]."""
        return self._probabilities

    def log_of(self, ids: Tensor) -> Tensor:
        """[n, k]: log probabilities of the ids, int64 [n, k]."""
        return self._scaled.gather(1, ids) - self._log_z

    def over_ids(self) -> Distribution:
        """A bucket an id."""
        return Distribution(log=self._scaled.sub_(self._log_z), probabilities=self._probabilities)

    def most_probable(self, k: int) -> Tensor:
        """int64 [n, k]: the ids."""
        return most_probable(self._scaled, k)

    def over_buckets(self, ids: Tensor) -> "tuple[Distribution, Rest]":
        """A bucket for each of the ids and one for all others; and what the last is made of.

        The others are added up, not taken off 1, so that a small rest keeps its digits. One that is too small even so
        is worked out from the logits, in the rows that have one.
        """
        kept = self.log_of(ids)
        none = self._probabilities.new_zeros((1, 1)).expand(ids.shape)  # a tensor: four times as fast as a number
        probabilities = self._probabilities.scatter_(1, ids, none)
        mass = probabilities.sum(-1, keepdim=True)
        log_mass, small = mass.clamp(min=SMALL).log_(), mass[:, 0] < SMALL
        others = None
        if bool(small.any()):
            others = self._scaled[small].scatter_(1, ids[small], -torch.inf)
            log_mass[small] = others.logsumexp(-1, keepdim=True) - self._log_z[small]
        rest = Rest(probabilities=probabilities, mass=mass, small=small, logits=others)
        return Distribution(log=torch.cat([kept, log_mass], dim=1)), rest


@dataclass(frozen=True, kw_only=True)
class Rest:
    """The ids that share a bucket."""

    probabilities: Tensor
    """[n, vocabulary]: 0 of ids with buckets of their own."""
    mass: Tensor
    """[n, 1]: the sums of these."""
    small: Tensor
    """bool [n]: rows whose mass is below `SMALL`."""
    logits: Tensor | None
    """[rows of small mass, vocabulary]: -inf of ids with buckets of their own. None: there is no such row."""

    def times(self, slopes: Tensor) -> Tensor:
        """[n, vocabulary]: each id's share of the bucket's slope, [n, 1]. Written into the probabilities."""
        spread = self.probabilities.mul_(slopes / self.mass.clamp(min=SMALL))
        if self.logits is not None:
            spread[self.small] = self.logits.softmax(-1) * slopes[self.small]
        return spread


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Teachers that give logits over all ids: P = sum of weight x softmax(logits / temperature)."""

    logits: tuple[Tensor, ...]
    """[n, V] each."""
    weights: tuple[float, ...]
    vocabulary: int

    def at(self, rows: slice, temperature: float, top_k: int | None) -> Buckets:
        """As `Taught` says."""
        softmaxes = [Softmax(logits[rows], temperature, self.vocabulary) for logits in self.logits]
        mixed = softmaxes[0] if len(softmaxes) == 1 else self._mixed(softmaxes)
        if top_k is None:
            return Buckets(distribution=mixed.over_ids())
        ids = mixed.most_probable(top_k)
        return Buckets(distribution=mixed.over_buckets(ids)[0], ids=ids)

    def _mixed(self, softmaxes: list[Softmax]) -> Softmax:
        logs = [own.over_ids().log.add_(log(weight)) for weight, own in zip(self.weights, softmaxes, strict=True)]
        return Softmax(torch.stack(logs).logsumexp(0), 1.0, self.vocabulary)


def most_probable(logits: Tensor, k: int) -> Tensor:
    """int64 [n, k]: ids of the k greatest logits of each row, in no order.

    On a processor numpy's partition takes a third of the time of `torch.topk`.
    """
    if logits.device.type != "cpu" or k == logits.shape[1]:
        return logits.topk(k, dim=1, sorted=False).indices
    first = logits.shape[1] - k
    ids = np.argpartition(logits.detach().numpy(), first, axis=1)[:, first:]
    return torch.from_numpy(np.ascontiguousarray(ids))


def compared(
    logits: Tensor, positions: Tensor, teaching: Teaching, comparison: DivergenceSettings
) -> tuple[Tensor, Tensor]:
    """Sums over positions, in nats, scalars: the divergence, and KL(P || Q) at temperature 1, which has no gradient.

    `logits` [N, V] are the student's at all flat positions, `positions` int64 [n] those that count. The gradient into
    `logits` is worked out analytically, tile by tile. The second sum is of every so many-th position, times their
    number; 0 where it is not taken.
    """
    with_gradient = torch.is_grad_enabled() and logits.requires_grad
    total, at_1 = _Compared.apply(logits, positions, teaching, comparison, with_gradient)
    return total, at_1


class _Compared(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        positions: Tensor,
        teaching: Teaching,
        comparison: DivergenceSettings,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor]:
        """The sums; the gradient is kept, since teachers and softmaxes are at hand now."""
        vocabulary, every = comparison.vocabulary, comparison.every
        sums = torch.zeros(2, dtype=torch.promote_types(logits.dtype, torch.float32), device=logits.device)
        gradient = _zero_elsewhere(logits, positions, vocabulary) if with_gradient else None
        tile = max(TILE // vocabulary, 1)
        done = 0
        for block in positions.split(ROWS):
            taught = teaching(block)
            at_1 = []
            for start in range(0, len(block), tile):
                rows = slice(start, min(start + tile, len(block)))
                values, slopes = _tile(taught, rows, logits.index_select(0, block[rows]), comparison, with_gradient)
                sums[0] += values.sum()
                at_1.append(values)
                if gradient is not None and slopes is not None:
                    gradient[:, :vocabulary].index_copy_(0, block[rows], slopes.to(gradient.dtype))
            if every is None:
                continue
            sampled = slice(-done % every, len(block), every)
            done += len(block)
            sums[1] += (
                torch.cat(at_1)[sampled].sum()
                if comparison.is_kl_at_1
                else _kl_at_1(taught, sampled, logits, block, vocabulary)
            )
        total, kl_at_1 = sums[0].clone(), sums[1] * (len(positions) / max(-(-len(positions) // (every or 1)), 1))
        ctx.gradient, ctx.scale = gradient, 1 / comparison.temperature  # type: ignore[attr-defined] # a context keeps
        ctx.mark_non_differentiable(kl_at_1)
        return total, kl_at_1

    @staticmethod
    def backward(ctx: FunctionCtx, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradient times what comes from above: in its own memory, unless it may be asked for again.

        Raises RuntimeError where a graph of it is asked for: it knows nothing of the logits any more.
        """
        if torch.is_grad_enabled():
            raise RuntimeError("kd has no second derivative: take gradients without create_graph")
        gradient: Tensor = ctx.gradient  # type: ignore[attr-defined] # see above
        factor = (upstream[0] * ctx.scale).to(gradient.dtype)  # type: ignore[attr-defined] # see above
        if torch._C._autograd._get_current_graph_task_keep_graph():
            return gradient * factor, None, None, None, None
        ctx.gradient = None  # type: ignore[attr-defined] # see above
        return gradient.mul_(factor), None, None, None, None


def _zero_elsewhere(logits: Tensor, positions: Tensor, vocabulary: int) -> Tensor:
    """A gradient into the logits, 0 where no position and no id counts; the rest is still to be written."""
    gradient = torch.empty_like(logits)
    others = torch.ones(len(logits), dtype=torch.bool, device=logits.device).index_fill_(0, positions, False)
    gradient.index_fill_(0, others.nonzero()[:, 0], 0.0)
    gradient[:, vocabulary:] = 0.0
    return gradient


def _tile(
    taught: Taught, rows: slice, own: Tensor, comparison: DivergenceSettings, with_slopes: bool
) -> tuple[Tensor, Tensor | None]:
    """Values [n], and slopes [n, ids] by the tempered logits of every id."""
    target = taught.at(rows, comparison.temperature, comparison.top_k)
    student = Softmax(own, comparison.temperature, comparison.vocabulary)
    return target.against(student, comparison.divergence, with_slopes)


def _kl_at_1(taught: Taught, sampled: slice, logits: Tensor, block: Tensor, vocabulary: int) -> Tensor:
    """Sum of KL(P || Q) at temperature 1 over some rows of a block."""
    comparison = DivergenceSettings(divergence=Divergence(direction="forward"), vocabulary=vocabulary)
    step = max(TILE // vocabulary, 1) * sampled.step
    total = torch.zeros((), dtype=torch.promote_types(logits.dtype, torch.float32), device=logits.device)
    for start in range(sampled.start, sampled.stop, step):
        rows = slice(start, min(start + step, sampled.stop), sampled.step)
        total += _tile(taught, rows, logits.index_select(0, block[rows]), comparison, False)[0].sum()
    return total


def log_of_mass(mass: Tensor) -> Tensor:
    """log of probabilities that may be 0, of which the smallest number above 0 stands."""
    return mass.clamp(min=torch.finfo(mass.dtype).tiny).log()
