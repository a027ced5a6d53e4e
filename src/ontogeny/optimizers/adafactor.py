"""Adafactor."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ontogeny.core.optimizers import Optimizer, ParameterGroup, torch_groups

if TYPE_CHECKING:
    import torch


class Adafactor(Optimizer):
    """Adafactor (Shazeer & Stern 2018), torch's: the second moment of a matrix is kept as one row and one column.

    At step t a tensor moves by -max(eps_scale, RMS(tensor)) x min(rate, 1 / sqrt(t)) x u / max(1, RMS(u) / clipping),
    with u = gradient / sqrt(second moment), the root at least `eps`. So the learning rate is relative to the tensor's
    size, and the step is not proportional to it: `lr_landscape` cannot assess it, unless with a horizon above 1. There
    is no momentum.
    """

    beta2_decay: float = Field(default=-0.8, le=0)
    """The second moment takes in each new squared gradient with the share t^beta2_decay."""
    eps: float | None = Field(default=None, gt=0)
    """Smallest root of the second moment; by default the precision of the weights (1.2e-7 in float32)."""
    eps_scale: float = Field(default=1e-3, gt=0)
    """Smallest size of a tensor that its step is relative to."""
    clipping: float = Field(default=1.0, ge=1)
    """RMS of u above which it is scaled down."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled; applied to matrices, not to biases and norms."""

    def build(self, groups: Sequence[ParameterGroup]) -> "torch.optim.Adafactor":
        """One Adafactor over all groups."""
        import torch

        return torch.optim.Adafactor(
            torch_groups(groups, self.weight_decay),
            lr=0.0,
            beta2_decay=self.beta2_decay,
            eps=(self.eps, self.eps_scale),
            d=self.clipping,
        )
