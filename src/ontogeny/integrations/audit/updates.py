"""Which forward and backward passes an optimizer step was made of, and what its tokens weighed in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ontogeny.integrations.audit.recording import ForwardRecord, Recording

PURE = 0.05
"""Misfit below which a gradient is that of a cross entropy."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """A looked-at optimizer step, made of a pure cross entropy."""

    passes: list[list[ForwardRecord]]
    """Backward passes since the gradients were cleared, each with its forward passes."""
    scale: float
    """What a GradScaler multiplied the loss by."""
    rescaled: float
    """Gradients as the optimizer got them, as a share of what `backward` left, but for that scale; NaN if unknown."""
    norm: float
    """Of the gradients as the optimizer got them."""

    @property
    def forwards(self) -> list[ForwardRecord]:
        """All forward passes."""
        return [one for group in self.passes for one in group]

    @property
    def tokens(self) -> int:
        """Targets."""
        return sum(int((one.targets.ids >= 0).sum()) for one in self.forwards if one.targets)

    @property
    def total(self) -> float:
        """Sum of the weights of all targets: 1 for a mean over the tokens of the step."""
        return sum(float(one.targets.weight.sum()) for one in self.forwards if one.targets) / self.scale


def updates(seen: Recording) -> list[Update]:
    """Of all looked-at steps all of whose forward passes are a pure cross entropy over tokens.

    Where a step was skipped (a GradScaler skips those with infinite gradients), its gradients were cleared: what came
    before that does not count.
    """
    found = []
    steps = {step.number: step for step in seen.steps}
    for number, group in groupby((one for one in seen.forwards if one.backward), key=lambda one: one.step):
        step, forwards = steps.get(number), list(group)
        begins = max((at for at, one in enumerate(forwards) if one.cleared), default=0)
        forwards = forwards[begins:]
        if step is not None and all(_pure(one) for one in forwards):
            found.append(
                Update(
                    passes=_by_backward_pass(forwards),
                    scale=step.loss_scale,
                    rescaled=step.rescaled * step.loss_scale,
                    norm=step.grad_norm,
                )
            )
    return found


def rescaled_later(found: Iterable[Update], total: float) -> bool:
    """Were the gradients made smaller between `backward` and the step, otherwise than by clipping?

    So where a loop divides them by the tokens of the step, or scales the loss by hand. Clipping leaves some steps as
    they are, or gives all of them one norm; where it may explain a sum of weights as small as `total`, it does.
    """
    several = list(found)
    shares = np.array([one.rescaled for one in several])
    norms = np.array([one.norm for one in several])
    if not several or not np.isfinite(shares).all() or not np.isfinite(norms).all() or shares.max() > 0.67:
        return False
    clipped = norms.max() <= 1.01 * norms.min()
    return total * float(np.median(shares)) <= 1.5 and (not clipped or total > 64)


def _pure(one: ForwardRecord) -> bool:
    return one.input_ids is not None and one.targets is not None and one.targets.misfit <= PURE


def _by_backward_pass(forwards: list[ForwardRecord]) -> list[list[ForwardRecord]]:
    """In order; a forward pass whose backward pass has no number has one of its own."""
    grouped: dict[int, list[ForwardRecord]] = {}
    for at, one in enumerate(forwards):
        grouped.setdefault(-1 - at if one.backward_pass is None else one.backward_pass, []).append(one)
    return list(grouped.values())
