"""Distance of the weights from where training started."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import OntogenyError

if TYPE_CHECKING:
    from torch import Tensor

_START, _IMPORTANCE = "start/", "importance/"


def anchored(model: Any, importance: "Mapping[str, Tensor] | None" = None) -> "dict[str, Tensor]":
    """What `distance` needs to know: the parameters as they are, copied, and how much each counts (by default 1)."""
    start = {f"{_START}{name}": parameter.detach().clone() for name, parameter in model.named_parameters()}
    return start | {f"{_IMPORTANCE}{name}": value for name, value in (importance or {}).items()}


def importance_of(anchor: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """How much each parameter counts, by its name; empty if all count alike."""
    found = {name: value for name, value in anchor.items() if name.startswith(_IMPORTANCE)}
    return {name.removeprefix(_IMPORTANCE): value for name, value in found.items()}


def distance(parameters: "Mapping[str, Tensor]", anchor: "Mapping[str, Tensor]") -> "Tensor":
    """1/2 sum_i importance_i (theta_i - start_i)^2 over all parameters: a scalar, with a gradient.

    Raises OntogenyError if the parameters are not those of the start.
    """
    import torch

    parts = []
    for name, parameter in parameters.items():
        if f"{_START}{name}" not in anchor:
            raise OntogenyError(f"the start that is remembered has no weights '{name}': it is of another model")
        squares = (parameter - anchor[f"{_START}{name}"].to(parameter.device)).square()
        weighed = anchor.get(f"{_IMPORTANCE}{name}")
        parts.append((squares if weighed is None else squares * weighed.to(parameter.device)).sum())
    return 0.5 * torch.stack(parts).sum()
