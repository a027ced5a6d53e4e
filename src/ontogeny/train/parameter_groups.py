"""The trainable tensors in groups, and the learning rate of each group."""

from typing import TYPE_CHECKING, Any

from ontogeny.core.optimizers import NamedParameter, ParameterGroup, rate_factor
from ontogeny.core.recipe_train import Train
from ontogeny.models.weights import block_of

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


def parameter_groups(model: Any, modules: "nn.ModuleDict", train: Train) -> list[ParameterGroup]:
    """Everything that is trainable, including what terms brought (`modules`), in groups of one learning rate.

    Where a control sets rates by layer, a group is one block. Embeddings go with the first block; final norm, head and
    what terms brought with the last.
    """
    parameters = [
        NamedParameter(name=name, tensor=tensor, block=block_of(name))
        for name, tensor in model.named_parameters()
        if tensor.requires_grad
    ]
    parameters += [
        NamedParameter(name=f"terms.{name}", tensor=tensor)
        for name, tensor in modules.named_parameters()
        if tensor.requires_grad
    ]
    blocks = [parameter.block for parameter in parameters]
    multipliers = block_multipliers(blocks, train.layer_slope)
    by_block = any(control.by_block for control in train.controls)
    depths = block_multipliers(blocks, (0.0, 1.0)) if by_block else [0.0] * len(blocks)
    members: dict[tuple[float, float], list[NamedParameter]] = {}
    for parameter, multiplier, depth in zip(parameters, multipliers, depths, strict=True):
        members.setdefault((multiplier, depth), []).append(parameter)
    return [
        ParameterGroup(parameters=tuple(parameters), multiplier=multiplier, depth=depth)
        for (multiplier, depth), parameters in members.items()
    ]


def block_multipliers(blocks: list[int | None], slope: tuple[float, float] | None) -> list[float]:
    """Learning-rate multiplier of each tensor, by its block: linear from the first block to the last.

    Tensors without a block get the first multiplier before the first block (embeddings), else the last (final norm,
    head, terms).

    >>> block_multipliers([None, 0, 1, 2, None], (0.5, 1.0))
    [0.5, 0.5, 0.75, 1.0, 1.0]
    """
    if slope is None:
        return [1.0] * len(blocks)
    last = max((block for block in blocks if block is not None), default=0)
    first_place = next((i for i, block in enumerate(blocks) if block is not None), len(blocks))

    def multiplier(i: int) -> float:
        block = blocks[i]
        share = block / last if block is not None and last else float(block is None and i > first_place)
        return slope[0] + (slope[1] - slope[0]) * share

    return [multiplier(i) for i in range(len(blocks))]


def set_layer_slope(optimizer: "Optimizer", slope: tuple[float, float]) -> None:
    """Set the multipliers of the first and the last block, linear in between, where groups are blocks."""
    for group in optimizer.param_groups:
        group["multiplier"] = slope[0] + (slope[1] - slope[0]) * group["depth"]


def set_learning_rate(optimizer: "Optimizer", learning_rate: float) -> None:
    """Set the rate of every group: the scheduled one times the group's factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * rate_factor(group)
