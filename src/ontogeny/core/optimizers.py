"""Optimizers: how one is built from groups of parameters, and what its next step would add to each."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ontogeny.core.component import Component
from ontogeny.core.errors import OntogenyError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Update = list[tuple["Tensor", "Tensor"]]
"""Parameters, each with its direction: the next step adds learning rate x direction."""


class DirectionUnknownError(OntogenyError):
    """An optimizer's next step cannot be written as learning rate x direction."""


@dataclass(frozen=True, kw_only=True)
class NamedParameter:
    """One trainable tensor."""

    name: str
    """As in the model; `terms.<term>.<name>` for what a loss term brought."""
    tensor: "nn.Parameter"
    block: int | None = None
    """Index of the model's block it belongs to; None for embeddings, final norm, head and what terms brought."""

    @property
    def is_matrix(self) -> bool:
        """Has it two axes or more? Weight decay applies to these, not to biases and norms."""
        return self.tensor.ndim >= 2


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Trainable tensors that share a learning rate."""

    parameters: tuple[NamedParameter, ...]
    multiplier: float = 1.0
    """Factor of the scheduled learning rate."""
    depth: float = 0.0
    """Where a control sets rates by layer, the group is one block: 0 is the first block, 1 the last."""

    def where(self, keep: Callable[[NamedParameter], bool]) -> "ParameterGroup":
        """Those of its parameters, possibly none."""
        return replace(self, parameters=tuple(filter(keep, self.parameters)))


class Optimizer(Component):
    """Builds the torch optimizer of a training.

    Before every step the training sets `lr` in each entry of the built optimizer's `param_groups`: the scheduled rate
    times `rate_factor` of the group, from the keys that `torch_groups` puts there. A checkpoint holds `optimizer.state`
    by parameter, tensors and numbers, and nothing else of the optimizer.
    """

    @abstractmethod
    def build(self, groups: Sequence[ParameterGroup]) -> "torch.optim.Optimizer":
        """The optimizer of all these parameters, with learning rate 0."""

    def update_direction(self, optimizer: "torch.optim.Optimizer") -> Update:
        """What the next step adds to each tensor with a gradient, per unit of scheduled learning rate.

        The optimizer is only read. Raises DirectionUnknownError where the step is not learning rate x direction; that
        is so by default.
        """
        kind = type(self).kind
        raise DirectionUnknownError(f"the step of the optimizer '{kind}' is not known to be learning rate x direction")

    @property
    def tells_direction(self) -> bool:
        """Does its kind define `update_direction`?"""
        return type(self).update_direction is not Optimizer.update_direction


def torch_groups(groups: Sequence[ParameterGroup], weight_decay: float) -> list[dict[str, Any]]:
    """Groups as torch's optimizers take them: `weight_decay` is 0 for vectors (biases, norms). Empty ones are left out.

    Values are `Any`, as in torch: each optimizer adds settings of any type.
    """
    merged: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for group in groups:
        for parameter in group.parameters:
            decay = weight_decay if parameter.is_matrix else 0.0
            merged.setdefault((group.multiplier, group.depth, decay), []).append(parameter.tensor)
    return [
        {"params": tensors, "multiplier": multiplier, "depth": depth, "weight_decay": decay}
        for (multiplier, depth, decay), tensors in merged.items()
    ]


def rate_factor(group: Mapping[str, Any]) -> float:
    """Factor from the scheduled learning rate to that of a torch group: `multiplier` x `lr_scale`, 1 by default.

    `multiplier` depends on the layer, and a control may change it; `lr_scale` is a setting of the optimizer.
    """
    return float(group.get("multiplier", 1.0) * group.get("lr_scale", 1.0))
