"""An optimizer in one file, with a state of tensors and numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from ontogeny.core.optimizers import Optimizer, ParameterGroup, torch_groups

if TYPE_CHECKING:
    import torch


class SignDescent(Optimizer):
    """Steps by -rate x sign(momentum) / sqrt(t), with t the number of steps."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the momentum."""

    def build(self, groups: Sequence[ParameterGroup]) -> "torch.optim.Optimizer":
        """Plain torch."""
        import torch

        decay = self.momentum

        class Descent(torch.optim.Optimizer):
            @torch.no_grad()
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for p in group["params"]:
                        if p.grad is not None:
                            state = self.state[p]
                            state["momentum"] = decay * state.get("momentum", torch.zeros_like(p)) + p.grad
                            state["t"] = state.get("t", 0) + 1
                            p.add_(state["momentum"].sign(), alpha=-group["lr"] / state["t"] ** 0.5)

        return Descent(torch_groups(groups, 0.0), {"lr": 0.0})
