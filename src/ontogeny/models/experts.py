"""What the experts of a mixture of experts make of each position, one by one."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError
from ontogeny.core.terms import ExpertOutputs

if TYPE_CHECKING:
    from torch import Tensor, nn

READS = 3
"""Arguments of a collection of experts in transformers: states [N, D], chosen experts [N, k], their weights [N, k]."""


def last_experts(model: "nn.Module") -> "nn.Module | None":
    """The experts of the model's last mixture of experts; None if it has none.

    transformers keeps the experts of a layer in one module, whose class is called …Experts and counts `num_experts`.
    """
    collections = [m for m in model.modules() if type(m).__name__.endswith("Experts") and hasattr(m, "num_experts")]
    return collections[-1] if collections else None


def number_of_experts(model: "nn.Module") -> int:
    """How many experts the last mixture has; 0 without one."""
    experts = last_experts(model)
    return 0 if experts is None else int(experts.num_experts)  # type: ignore[arg-type] # a number in all of them


def expert_outputs(model: "nn.Module", run: "Callable[[], Tensor]") -> ExpertOutputs:
    """Outputs of all experts of the last mixture at every position, and the router's weights.

    `run` runs the model forward and returns [B, T, ...]. Each expert is then run on what the mixture was given. Raises
    OntogenyError if the model has no experts, or if their weighted outputs do not add up to what the mixture gave.
    """
    import torch

    name = type(model).__name__
    experts = last_experts(model)
    if experts is None:
        raise OntogenyError(f"{name} has no experts whose outputs could be read: it is no mixture of experts")
    caught: list[tuple[tuple[Tensor, ...], Tensor]] = []
    handle = experts.register_forward_hook(lambda _, inputs, output: caught.append((inputs, output)))
    try:
        rows, columns = run().shape[:2]
    finally:
        handle.remove()
    if not caught or len(caught[-1][0]) != READS:
        raise OntogenyError(f"the experts of {name} are not called as those of transformers are: they cannot be read")
    (states, chosen, given), mixed = caught[-1]
    count = number_of_experts(model)
    everywhere = chosen.new_zeros((len(states), 1))
    whole = given.new_ones((len(states), 1))
    outputs = torch.stack([experts(states, everywhere + expert, whole) for expert in range(count)], dim=1)
    # A router may name one expert more, which stands for none.
    weights = given.new_zeros((len(states), count + 1)).scatter_add_(1, chosen, given)[:, :count]
    if not torch.allclose((weights[..., None] * outputs).sum(1), mixed.reshape(len(states), -1), rtol=1e-3, atol=1e-4):
        raise OntogenyError(f"the experts of {name} do not add up to what its mixture gives: they cannot be read")
    shares = weights / weights.sum(-1, keepdim=True)
    return ExpertOutputs(
        outputs=outputs.unflatten(0, (rows, columns)), weights=shares.float().unflatten(0, (rows, columns))
    )
