"""Undo the smallest part of the change since the start, to free parameters for further learning."""

from typing import TYPE_CHECKING

from pydantic import Field

from ontogeny.core.interventions import Change, Intervention
from ontogeny.core.measures import Context

if TYPE_CHECKING:
    from torch import Tensor


class Sleep(Intervention):
    """Prunes the change since the start by magnitude: in each tensor, the parameters that moved least are reset.

    With d = theta - theta_start, the `share` of a tensor's parameters with the smallest |d| is set back to the start,
    as magnitude pruning does with weights (Han et al. 2015) and TIES-merging with changes (Yadav et al. 2023, "trim").
    Their optimizer moments are reset too. The start is the first saved checkpoint; with a share of 1 all weights return
    to it. With `saturated` it acts only if that share of all parameters has moved: if |d| exceeds `tolerance` times the
    root mean square of the tensor at the start.

    Records `sleep_moved`, the share that has moved before it acts, and `sleep_reset`, the share that it resets: 0 if it
    does not act.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    """Share of each tensor's parameters that is reset."""
    saturated: float = Field(default=0.0, ge=0, le=1)
    """Act only if at least this share of all parameters has moved."""
    tolerance: float = Field(default=0.01, ge=0)
    """Change from which a parameter counts as moved, relative to the root mean square of its tensor at the start."""

    def apply(self, context: Context) -> Change:
        """Reset the parameters that moved least, if enough have moved."""
        from ontogeny.models.changed_weights import has_moved

        assert context.first_weights is not None  # interventions never act at the first state
        start = context.first_weights()
        now = {name: parameter.detach().cpu() for name, parameter in context.model.named_parameters()}
        total = sum(tensor.numel() for tensor in now.values())
        moved = sum(int(has_moved(now[name], start[name], self.tolerance).sum()) for name in now) / total
        if moved < self.saturated:
            return Change(values={"moved": moved, "reset": 0.0})
        least = {name: self._least(tensor - start[name]) for name, tensor in now.items()}
        weights = {name: tensor.where(~least[name], start[name]) for name, tensor in now.items()}
        reset = sum(int(mask.sum()) for mask in least.values()) / total
        return Change(weights=weights, reset_moments=least, values={"moved": moved, "reset": reset})

    def _least(self, change: "Tensor") -> "Tensor":
        """Mask of the `share` of a tensor with the smallest |change|: bool. Ties go to the first parameters."""
        import torch

        mask = torch.zeros(change.numel(), dtype=torch.bool)
        mask[change.abs().flatten().argsort(stable=True)[: round(self.share * change.numel())]] = True
        return mask.view(change.shape)
