"""Stochastic gradient descent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.names import Decay
from ontogeny.core.optimizers import Optimizer, ParameterGroup, Update, torch_groups
from ontogeny.looking.update_direction import update_direction

if TYPE_CHECKING:
    import torch


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum: torch's.

    With g the gradient plus weight_decay x tensor: b <- momentum x b + (1 - dampening) x g (the first b is g), and the
    tensor moves by -rate x b; with `nesterov` by -rate x (g + momentum x b) (Sutskever et al. 2013).
    """

    momentum: Decay = 0.0
    """Decay of the momentum; 0 is plain gradient descent."""
    dampening: float = Field(default=0.0, ge=0, le=1)
    """Of each new gradient, the share that does not enter the momentum."""
    nesterov: bool = False
    """Look ahead along the momentum (Nesterov)."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Added to the gradient (L2); applied to matrices, not to biases and norms."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.nesterov and (not self.momentum or self.dampening):
            raise refusal("nesterov needs a momentum above 0 and dampening 0", "nesterov")
        return self

    def build(self, groups: Sequence[ParameterGroup]) -> "torch.optim.SGD":
        """One SGD over all groups."""
        import torch

        return torch.optim.SGD(
            torch_groups(groups, self.weight_decay),
            lr=0.0,
            momentum=self.momentum,
            dampening=self.dampening,
            nesterov=self.nesterov,
        )

    def update_direction(self, optimizer: "torch.optim.Optimizer") -> Update:
        """Minus the (Nesterov) momentum."""
        return update_direction(optimizer)
