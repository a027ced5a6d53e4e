"""Muon for the matrices of the blocks, AdamW for the rest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ontogeny.core.errors import OntogenyError
from ontogeny.core.names import Decay
from ontogeny.core.optimizers import NamedParameter, Optimizer, ParameterGroup, Update, torch_groups
from ontogeny.looking.update_direction import update_direction
from ontogeny.optimizers._combined import combine, parts_of

if TYPE_CHECKING:
    import torch


class Muon(Optimizer):
    """Muon (Jordan et al. 2024) for the blocks' matrices: the momentum is orthogonalized before it is applied.

    torch's, with g the gradient: b <- momentum x b + (1 - momentum) x g; O is the result of Newton-Schulz iterations in
    bfloat16 on b, or with `nesterov` on momentum x b + (1 - momentum) x g; the matrix moves by -rate x (a x O +
    weight_decay x matrix), with a from `adjust_lr_fn`. AdamW steps embeddings, head, vectors and what loss terms bring.
    """

    momentum: Decay = 0.95
    """Decay of the momentum."""
    nesterov: bool = True
    """Look ahead along the momentum (Nesterov)."""
    ns_steps: int = Field(default=5, ge=1, lt=100)
    """Newton-Schulz iterations."""
    adjust_lr_fn: Literal["match_rms_adamw", "original"] = "match_rms_adamw"
    """Factor a for a matrix of m rows and n columns. match_rms_adamw: 0.2 sqrt(max(m, n)) makes updates as large as
    AdamW's, so that one learning rate serves both (Liu et al. 2025). original: sqrt(max(1, m / n)), with a lower
    adamw_lr."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled; applied to matrices, not to biases and norms, by Muon and AdamW."""
    adamw_lr: float = Field(default=1.0, gt=0)
    """AdamW's learning rate, as a multiple of the scheduled one."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """AdamW's decay of the first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """AdamW's: added to the root of the second moment."""

    def build(self, groups: Sequence[ParameterGroup]) -> "torch.optim.Optimizer":
        """Both as one optimizer. Raises OntogenyError for a model without block matrices."""
        import torch

        matrices = torch_groups([group.where(_is_block_matrix) for group in groups], self.weight_decay)
        if not matrices:
            raise OntogenyError("'muon' steps the matrices of blocks, and none is trained here: write kind: adamw")
        rest = torch_groups([group.where(lambda p: not _is_block_matrix(p)) for group in groups], self.weight_decay)
        muon = torch.optim.Muon(
            matrices,
            lr=0.0,
            momentum=self.momentum,
            nesterov=self.nesterov,
            ns_steps=self.ns_steps,
            adjust_lr_fn=self.adjust_lr_fn,
        )
        return combine([muon, self._adamw(rest)] if rest else [muon])

    def _adamw(self, groups: list[dict[str, Any]]) -> "torch.optim.AdamW":
        import torch

        scaled = [{**group, "lr_scale": self.adamw_lr} for group in groups]
        return torch.optim.AdamW(scaled, lr=0.0, betas=self.betas, eps=self.eps, fused=True)

    def update_direction(self, optimizer: "torch.optim.Optimizer") -> Update:
        """-(a x O + weight_decay x matrix), and AdamW's direction."""
        return [pair for part in parts_of(optimizer) for pair in update_direction(part)]


def _is_block_matrix(parameter: NamedParameter) -> bool:
    return parameter.block is not None and parameter.tensor.ndim == 2
