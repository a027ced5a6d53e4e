"""Distance of the weights from where training started."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_START, _IMPORTANCE = "start/", "importance/"


def anchor_of(model: "PreTrainedModel", importance: "Mapping[str, Tensor] | None" = None) -> "dict[str, Tensor]":
    """What `distance` reads: copies of the parameters, and the importance of each (by default 1)."""
    start = {f"{_START}{name}": parameter.detach().clone() for name, parameter in model.named_parameters()}
    return start | {f"{_IMPORTANCE}{name}": value for name, value in (importance or {}).items()}


def importance_of(anchor: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Importance of each parameter by name; empty if all count alike."""
    return {key.removeprefix(_IMPORTANCE): value for key, value in anchor.items() if key.startswith(_IMPORTANCE)}


def distance(parameters: "Mapping[str, Tensor]", anchor: "Mapping[str, Tensor]") -> "Tensor":
    """1/2 sum_i importance_i (theta_i - start_i)^2 over all parameters: a scalar, with a gradient.

    Raises OntogenyError if the anchor is of another model.
    """
    import torch

    parts = []
    for name, parameter in parameters.items():
        if f"{_START}{name}" not in anchor:
            raise OntogenyError(f"the anchor has no weights '{name}': it is of another model")
        squares = (parameter - anchor[f"{_START}{name}"].to(parameter.device)).square()
        importance = anchor.get(f"{_IMPORTANCE}{name}")
        parts.append((squares if importance is None else squares * importance.to(parameter.device)).sum())
    return 0.5 * torch.stack(parts).sum()
