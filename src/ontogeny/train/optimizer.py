"""AdamW with decay on matrices only, and a learning rate per block where the recipe asks for one."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ontogeny.core.recipe_train import Train
from ontogeny.models.weights import block_of

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import AdamW


def build_optimizer(model: Any, modules: "Iterable[nn.Module]", train: Train) -> "AdamW":
    """AdamW (fused where there is one) over everything that is trainable, including what terms brought.

    Each group carries `multiplier`: its share of the scheduled learning rate; and, where a control decides about
    layers, is one block, with its `depth`: 0 is the first block, 1 the last.
    """
    import torch

    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    for module in modules:
        named += [("", p) for p in module.parameters() if p.requires_grad]
    names = [name for name, _ in named]
    multipliers = block_multipliers(names, train.layer_slope)
    decided = any("layers" in type(control).decides for control in train.controls)
    depths = block_multipliers(names, (0.0, 1.0)) if decided else [0.0] * len(names)
    groups: dict[tuple[float, float, float], list[Any]] = {}
    for (_, parameter), multiplier, depth in zip(named, multipliers, depths, strict=True):
        decay = train.optimizer.weight_decay if parameter.ndim >= 2 else 0.0
        groups.setdefault((multiplier, depth, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": ps, "multiplier": m, "depth": d, "weight_decay": decay} for (m, d, decay), ps in groups.items()],
        lr=0.0,
        betas=train.optimizer.betas,
        eps=train.optimizer.eps,
        fused=True,
    )


def block_multipliers(names: list[str], slope: tuple[float, float] | None) -> list[float]:
    """Learning-rate multiplier of each named tensor: linear from the first block to the last.

    What comes before the first block (embeddings) gets the first multiplier, what comes after the last (final norm,
    head) and what belongs to no model (terms) the last.

    >>> block_multipliers(["embed.weight", "layers.0.w", "layers.1.w", "layers.2.w", "lm_head.weight"], (0.5, 1.0))
    [0.5, 0.5, 0.75, 1.0, 1.0]
    """
    if slope is None:
        return [1.0] * len(names)
    blocks = [block_of(name) for name in names]
    last = max((block for block in blocks if block is not None), default=0)
    first_seen = next((i for i, block in enumerate(blocks) if block is not None), len(blocks))

    def multiplier(i: int) -> float:
        block = blocks[i]
        share = block / last if block is not None and last else float(block is None and i > first_seen)
        return slope[0] + (slope[1] - slope[0]) * share

    return [multiplier(i) for i in range(len(names))]


def set_layer_slope(optimizer: "AdamW", slope: tuple[float, float]) -> None:
    """Set the multipliers of the first and the last block, linear in between, where groups are blocks."""
    for group in optimizer.param_groups:
        group["multiplier"] = slope[0] + (slope[1] - slope[0]) * group["depth"]


def set_learning_rate(optimizer: "AdamW", learning_rate: float) -> None:
    """Set the scheduled rate, times each group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["multiplier"]
