"""Distance of the weights from those of earlier checkpoints."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ontogeny.core.errors import StoreError
from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.looking.axes import dataset, variable

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 1 << 20
_ABOUT = {
    "mad": "mean absolute difference from the {}",
    "relative_l2": "L2 norm of the difference from the {} / the L2 norm there",
    "cosine": "cosine with the {}",
}


class WeightDrift(StateMeasure):
    """Difference of the effective weights (LoRA merged) from the first and from the previous saved checkpoint.

    With w the current weights and r those of the checkpoint: `mad` = mean |w - r|, `relative_l2` = ||w - r|| / ||r||,
    `cosine` = w.r / (||w|| ||r||); all in float64. Each is given as `<quantity>_first` and `<quantity>_previous` for
    the whole model, `block_<quantity>_…` per block and `tensor_<quantity>_…` per tensor. NaN if there is no such
    checkpoint, or if a norm in the denominator is 0.
    """

    compares_weights: ClassVar[bool] = True
    cost: ClassVar[str] = "reads the weights and those of two checkpoints once; no forward pass"

    def look(self, context: Context) -> Observation:
        """Compare with both checkpoints."""
        from ontogeny.models.weights import block_axis

        weights = context.weights()
        names = list(weights)
        blocks = block_axis(names)
        labels = np.unique(blocks)
        variables = {}
        for reference, load in (("first", context.first_weights), ("previous", context.previous_weights)):
            sums = _compare(weights, load)
            by_block = np.stack([sums[blocks == block].sum(axis=0) for block in labels])
            for quantity, compute in _QUANTITIES.items():
                name = f"{quantity}_{reference}"
                about = _ABOUT[quantity].format(f"{reference} saved checkpoint")
                variables[name] = variable((), compute(sums.sum(axis=0)), "1", about)
                variables[f"block_{name}"] = variable("block", compute(by_block), "1", f"{about}, per block")
                variables[f"tensor_{name}"] = variable("tensor", compute(sums), "1", f"{about}, per tensor")
        axes = {"block": labels, "tensor": np.array(names, dtype=np.str_)}
        return Observation(arrays=dataset(variables, axes, {"block_of_tensor": ("tensor", blocks)}))


def block_mad(context: Context) -> np.ndarray:
    """Mean |w - w0| of each transformer block, with w0 the weights of the first saved checkpoint: float64 `[blocks]`.

    0 at the first checkpoint itself. Embeddings, final norm and head belong to no block.
    """
    from ontogeny.models.weights import block_of

    weights = context.weights()
    blocks = np.array([-1 if (block := block_of(name)) is None else block for name in weights])
    count = int(blocks.max(initial=-1)) + 1
    if context.first_weights is None:
        return np.zeros(count)
    sums = _compare(weights, context.first_weights)
    return _mean_absolute(np.stack([sums[blocks == block].sum(axis=0) for block in range(count)]))


def _compare(weights: "Mapping[str, Tensor]", load: "Callable[[], Mapping[str, Tensor]] | None") -> np.ndarray:
    """float64 `[tensors, 5]`: count, sum |w - r|, sum (w - r)^2, sum w^2, sum r^2; NaN without a checkpoint.

    Raises StoreError if the checkpoint is of another model.
    """
    if load is None:
        return np.full((len(weights), 5), np.nan)
    reference = load()
    for name, tensor in weights.items():
        if name not in reference or reference[name].shape != tensor.shape:
            raise StoreError(
                f"weight_drift: an earlier checkpoint has no tensor '{name}' of shape {tuple(tensor.shape)}: "
                "compare checkpoints of one model"
            )
    return np.array([_sums(tensor, reference[name]) for name, tensor in weights.items()])


def _sums(tensor: "Tensor", reference: "Tensor") -> np.ndarray:
    """One row of `_compare`, a chunk at a time, so that no float64 copy of a whole tensor is made."""
    flat, flat_reference = tensor.reshape(-1), reference.reshape(-1)
    sums = np.zeros(5)
    for start in range(0, flat.numel(), _CHUNK):
        now = flat[start : start + _CHUNK].double()
        then = flat_reference[start : start + _CHUNK].double()
        change = now - then
        parts = (change.abs().sum(), change.square().sum(), now.square().sum(), then.square().sum())
        sums += [now.numel(), *map(float, parts)]
    return sums


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def _mean_absolute(sums: np.ndarray) -> np.ndarray:
    return _ratio(sums[..., 1], sums[..., 0])


def _relative_l2(sums: np.ndarray) -> np.ndarray:
    return _ratio(np.sqrt(sums[..., 2]), np.sqrt(sums[..., 4]))


def _cosine(sums: np.ndarray) -> np.ndarray:
    """From w.r = (|w|^2 + |r|^2 - |w - r|^2) / 2, so that the cosine is exactly 1 if nothing moved."""
    dot = (sums[..., 3] + sums[..., 4] - sums[..., 2]) / 2
    return _ratio(dot, np.sqrt(sums[..., 3] * sums[..., 4]))


_QUANTITIES = {"mad": _mean_absolute, "relative_l2": _relative_l2, "cosine": _cosine}
