"""Held-out passages in one batch, and their loss."""

from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError, closest
from ontogeny.core.measures import Context
from ontogeny.objectives.forward import ModelForward

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def held_out(context: Context, probe: str, passages: int, asked_by: str) -> "dict[str, Tensor]":
    """The first `passages` passages of a probe set as one batch on the model's device.

    Raises OntogenyError, naming `asked_by`, if there is no such probe set.
    """
    from ontogeny.data.collate import collate

    if probe not in context.probes:
        raise OntogenyError(f"'{asked_by}': unknown probe set '{probe}': {closest(probe, context.probes)}")
    device = next(context.model.parameters()).device
    return collate(context.probes[probe].passages[:passages], 0).to(device)


def mean_nll(model: "PreTrainedModel", batch: "dict[str, Tensor]") -> float:
    """Mean NLL per supervised token (nats) of one batch, in evaluation mode."""
    import torch

    model.eval()
    with torch.no_grad():
        forward = ModelForward(model, batch)
        return float(forward.nll.where(forward.supervised, 0.0).double().sum() / forward.supervised.sum())
