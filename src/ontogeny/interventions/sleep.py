"""Take back what was hardly used of the change since the start."""

from typing import TYPE_CHECKING

from pydantic import Field

from ontogeny.core.contracts import Context
from ontogeny.core.interventions import Change, Intervention

if TYPE_CHECKING:
    from torch import Tensor


class Sleep(Intervention):
    """Prunes the change since the start by magnitude: in each tensor, the parameters that moved least go back.

    With d = theta - start, the `share` of a tensor's parameters with the smallest |d| get their start value, as
    magnitude pruning does with weights (Han et al. 2015) and TIES-merging with changes (Yadav et al. 2023, "trim");
    their optimizer moments begin anew. The start is the first saved checkpoint. With a share of 1 everything is as at
    the start. `saturated` lets it sleep only when much has moved: the share of all parameters whose |d| exceeds
    `tolerance` times the root mean square of their tensor at the start.

    Records `sleep_moved`, that share before it, and `sleep_reset`, the share that was put back: 0 if it stayed awake.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    """Of each tensor's parameters, how many are put back."""
    saturated: float = Field(default=0.0, ge=0, le=1)
    """Sleep only if at least this share of all parameters has moved."""
    tolerance: float = Field(default=0.01, ge=0)
    """From when on a parameter has moved, by the root mean square of its tensor at the start."""

    def apply(self, context: Context) -> Change:
        """Put back what moved least, if enough has moved."""
        from ontogeny.models.changed_weights import has_moved

        assert context.first_weights is not None  # there is no intervention at the first state
        start = context.first_weights()
        now = {name: parameter.detach().cpu() for name, parameter in context.model.named_parameters()}
        total = sum(tensor.numel() for tensor in now.values())
        moved = sum(int(has_moved(now[name], start[name], self.tolerance).sum()) for name in now) / total
        if moved < self.saturated:
            return Change(seen={"moved": moved, "reset": 0.0})
        least = {name: self._least(tensor - start[name]) for name, tensor in now.items()}
        weights = {name: tensor.where(~least[name], start[name]) for name, tensor in now.items()}
        reset = sum(int(mask.sum()) for mask in least.values()) / total
        return Change(weights=weights, anew=least, seen={"moved": moved, "reset": reset})

    def _least(self, change: "Tensor") -> "Tensor":
        """The share of a tensor that moved least: bool. Of equal ones, the first."""
        import torch

        mask = torch.zeros(change.numel(), dtype=torch.bool)
        mask[change.abs().flatten().argsort(stable=True)[: round(self.share * change.numel())]] = True
        return mask.view(change.shape)
