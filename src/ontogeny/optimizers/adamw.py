"""AdamW."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from ontogeny.core.names import Decay
from ontogeny.core.optimizers import Optimizer, ParameterGroup, Update, torch_groups
from ontogeny.looking.update_direction import update_direction

if TYPE_CHECKING:
    import torch


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): torch's, fused where the device allows it."""

    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of the first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled; applied to matrices, not to biases and norms."""

    def build(self, groups: Sequence[ParameterGroup]) -> "torch.optim.AdamW":
        """One AdamW over all groups."""
        import torch

        return torch.optim.AdamW(
            torch_groups(groups, self.weight_decay), lr=0.0, betas=self.betas, eps=self.eps, fused=True
        )

    def update_direction(self, optimizer: "torch.optim.Optimizer") -> Update:
        """-m / (sqrt(v) + eps) - weight_decay x tensor, with m and v corrected for bias."""
        return update_direction(optimizer)
