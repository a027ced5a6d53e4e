"""How hard each block is pulled, by each probe set."""

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.core.terms import Unit
from ontogeny.looking.axes import probe_names, variable
from ontogeny.looking.batch_plan import plan_batches

if TYPE_CHECKING:
    from torch import Tensor


class GradientNorms(StateMeasure):
    """L2 norm of the gradient of the training objective on a whole probe set, per block and in all.

    The objective is that of the present step (same weights of its terms, sums divided by the units of the whole set),
    without dropout, without autocast and without clipping. Only parameters that are trained have a gradient; of a
    model with LoRA these are the adapters. `block_norm` [probe, block] and `norm` [probe], in float64.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to look at; by default all."""

    cost: ClassVar[str] = "one forward and one backward pass over the probe sets, about three forward passes"

    def look(self, context: Context) -> Observation:
        """Run each probe set forward and backward."""
        import xarray as xr

        from ontogeny.models.weights import block_axis

        parameters = dict(context.model.named_parameters())
        blocks = block_axis(parameters)
        present = np.unique(blocks)
        context.model.eval()
        names = probe_names(context, self.probes)
        squares = np.zeros((len(names), len(present)))
        for row, name in enumerate(names):
            gradients = _gradients(context, context.probes[name], parameters)
            by_parameter = np.array([_square(gradient) for gradient in gradients])
            squares[row] = [by_parameter[blocks == block].sum() for block in present]
        variables = {
            "norm": variable("probe", np.sqrt(squares.sum(axis=1)), "nats", "L2 norm of the objective's gradient"),
            "block_norm": variable(("probe", "block"), np.sqrt(squares), "nats", "L2 norm of a block's gradient"),
        }
        return Observation(arrays=xr.Dataset(variables, {"probe": np.array(names, dtype=np.str_), "block": present}))


def _gradients(context: Context, probe: ProbeSet, parameters: dict[str, Any]) -> "list[Tensor | None]":
    """Gradient of the objective on a probe set, by parameter; the parameters are left without one."""
    import torch

    from ontogeny.data.collate import collate

    device = next(context.model.parameters()).device
    plan = plan_batches([len(passage) for passage in probe.passages], context.batch_tokens)
    units: dict[Unit, float] = {
        "tokens": float(sum(int(passage.supervised[1:].sum()) for passage in probe.passages)),
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
    import torch

    return 0.0 if gradient is None else float(torch.linalg.vector_norm(gradient, dtype=torch.float64)) ** 2
