"""Norm of the training objective's gradient on each probe set, per block."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.core.terms import Unit, supervised_bytes
from ontogeny.looking.axes import dataset, probe_axis, probe_names, variable
from ontogeny.looking.batch_plan import plan_batches

if TYPE_CHECKING:
    from torch import Tensor, nn


class GradientNorms(StateMeasure):
    """L2 norm of the gradient of the training objective on a whole probe set, of all parameters and per block.

    The objective is that of the current step: the same weights of the terms, sums divided by the units of the whole
    set. It is computed without dropout, autocast and clipping. Only trained parameters have a gradient; in a model with
    LoRA these are the adapters. `norm` [probe] and `block_norm` [probe, block], nats, accumulated in float64.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to evaluate; by default all."""

    cost: ClassVar[str] = "one forward and one backward pass over the probe sets, as much as about three forward passes"

    def look(self, context: Context) -> Observation:
        """Run each probe set forward and backward."""
        from ontogeny.models.weights import block_axis

        parameters = dict(context.model.named_parameters())
        blocks = block_axis(parameters)
        block_labels = np.unique(blocks)
        context.model.eval()
        names = probe_names(context, self.probes)
        squares = np.zeros((len(names), len(block_labels)))
        for row, name in enumerate(names):
            gradients = _gradients(context, context.probes[name], parameters)
            by_parameter = np.array([_square(gradient) for gradient in gradients])
            squares[row] = [by_parameter[blocks == block].sum() for block in block_labels]
        variables = {
            "norm": variable("probe", np.sqrt(squares.sum(axis=1)), "nats", "L2 norm of the objective's gradient"),
            "block_norm": variable(("probe", "block"), np.sqrt(squares), "nats", "L2 norm of a block's gradient"),
        }
        return Observation(arrays=dataset(variables, probe_axis(names), {"block": block_labels}))


def _gradients(context: Context, probe: ProbeSet, parameters: "dict[str, nn.Parameter]") -> "list[Tensor | None]":
    """Gradient of the objective on a probe set for each parameter. Afterwards every `grad` is None."""
    import torch

    from ontogeny.data.collate import collate

    device = next(context.model.parameters()).device
    plan = plan_batches([len(passage) for passage in probe.passages], context.batch_tokens)
    units: dict[Unit, float] = {
        "tokens": float(sum(int(passage.supervised[1:].sum()) for passage in probe.passages)),
        "bytes": supervised_bytes(probe.passages),
        "examples": float(len(probe)),
        "batch": float(len(plan)),
    }
    with torch.enable_grad():
        for rows in plan:
            batch = collate([probe.passages[row] for row in rows], 0).to(device)
            forward = context.objective.forward(context.model, batch)
            loss, _ = context.objective.train_loss(forward, context.progress, units)
            loss.backward()
    gradients = [parameter.grad for parameter in parameters.values()]
    for parameter in parameters.values():
        parameter.grad = None
    return gradients


def _square(gradient: "Tensor | None") -> float:
    """Squared L2 norm, accumulated in float64."""
    import torch

    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2
