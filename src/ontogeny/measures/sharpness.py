"""Sharpness of the loss at the weights: along random directions, and its largest curvature."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.errors import DataError
from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import dataset, probe_axis, probe_names, variable

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel


class Sharpness(StateMeasure):
    """Shape of the mean next-token NLL on a fixed batch: the first passages of a probe set, without dropout.

    Per probe set: `loss` [direction, distance], at the weights plus `distance` times a random direction. Directions are
    filter-normalised (Li et al., "Visualizing the loss landscape of neural nets", 2018): Gaussian, each row of a matrix
    scaled to the norm of that row of the weights; vectors (biases, norms) stay unchanged. They are the same at every
    state. `rise`, the loss at the largest distance minus the loss at 0, averaged over directions and signs.
    `top_eigenvalue` of the Hessian: the eigenvalue of largest magnitude, which may be negative, by power iteration with
    Hessian-vector products over the trained parameters, until it changes by less than `tolerance` (then `converged`)
    or after `iterations`.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to evaluate; by default all."""
    passages: int = Field(default=16, ge=1)
    """Passages of the batch."""
    directions: int = Field(default=2, ge=1)
    """Number of random directions."""
    distances: tuple[float, ...] = Field(default=(-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5), min_length=3)
    """Distances in units of the norms of the weights' rows; must include 0."""
    iterations: int = Field(default=20, ge=0)
    """Most power iterations; 0 to skip the eigenvalue."""
    tolerance: float = Field(default=1e-2, gt=0)
    """Relative change below which the eigenvalue counts as converged."""

    moves_weights: ClassVar[bool] = True
    cost: ClassVar[str] = "per probe set directions x distances forward passes, and about 5 passes per power iteration"

    def look(self, context: Context) -> Observation:
        """Evaluate the loss along the directions, then iterate. Raises DataError if 0 is not among the distances."""
        if 0.0 not in self.distances:
            raise DataError(f"sharpness: distances {list(self.distances)} must hold 0")
        context.model.eval()
        names = probe_names(context, self.probes)
        parameters = [parameter for parameter in context.model.parameters() if parameter.requires_grad]
        losses = np.full((len(names), self.directions, len(self.distances)), np.nan)
        eigenvalues = np.full(len(names), np.nan)
        converged = np.zeros(len(names), dtype=bool)
        for row, name in enumerate(names):
            batch = self._batch(context, name)
            if batch is None:
                continue
            losses[row] = self._curves(context, batch, parameters)
            if self.iterations:
                eigenvalues[row], converged[row] = self._top_eigenvalue(context, batch, parameters)
        zero, distance = self.distances.index(0.0), np.abs(self.distances)
        rise = (losses[:, :, distance == distance.max()] - losses[:, :, [zero]]).mean(axis=(1, 2))
        axes = ("probe", "direction", "distance")
        variables = {
            "loss": variable(axes, losses, "nats", "mean NLL along a random direction"),
            "rise": variable("probe", rise, "nats", "rise of the loss at the largest distance"),
            "top_eigenvalue": variable("probe", eigenvalues, "1", "top eigenvalue of the Hessian"),
            "converged": variable("probe", converged, "1", "did the power iteration converge"),
        }
        grid = {"direction": np.arange(self.directions), "distance": np.array(self.distances)}
        return Observation(arrays=dataset(variables, probe_axis(names), grid))

    def _batch(self, context: Context, name: str) -> "dict[str, Tensor] | None":
        """The first passages of the set that have a token to predict; None if there are none."""
        from ontogeny.data.collate import collate

        passages = [passage for passage in context.probes[name].passages if len(passage) >= 2][: self.passages]
        if not passages:
            return None
        device = next(context.model.parameters()).device
        return collate(passages, 0).to(device)

    def _curves(self, context: Context, batch: "dict[str, Tensor]", parameters: "Sequence[Tensor]") -> np.ndarray:
        """Losses [directions, distances]. Afterwards the weights are bit-identical to before."""
        import torch

        losses = np.zeros((self.directions, len(self.distances)))
        originals = [parameter.detach().clone() for parameter in parameters]
        device = parameters[0].device
        for row in range(self.directions):
            generator = torch.Generator(device).manual_seed(derive_seed(context.seed, "sharpness", row))
            directions = [filter_normalised(original, generator) for original in originals]
            for column, distance in enumerate(self.distances):
                with torch.no_grad():
                    for parameter, original, direction in zip(parameters, originals, directions, strict=True):
                        parameter.data.copy_(original + distance * direction)
                    losses[row, column] = float(loss_with_graph(context.model, batch))
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.data.copy_(original)
        return losses

    def _top_eigenvalue(
        self, context: Context, batch: "dict[str, Tensor]", parameters: "Sequence[Tensor]"
    ) -> tuple[float, bool]:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        generator = torch.Generator(parameters[0].device).manual_seed(derive_seed(context.seed, "sharpness", "power"))
        start = [torch.randn(parameter.shape, generator=generator, device=parameter.device) for parameter in parameters]

        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
            loss = loss_with_graph(context.model, batch)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)

            def hessian_times(vector: "Sequence[Tensor]") -> "list[Tensor]":
                """The gradient of (gradient . vector)."""
                pairs = [(gradient, v) for gradient, v in zip(gradients, vector, strict=True) if gradient is not None]
                dot = torch.stack([(gradient * v).sum() for gradient, v in pairs]).sum()
                return list(
                    torch.autograd.grad(dot, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
                )

            return power_iteration(hessian_times, start, self.iterations, self.tolerance)


def filter_normalised(weight: "Tensor", generator: "torch.Generator") -> "Tensor":
    """A Gaussian direction, each row scaled to the norm of the weight's row; zero for vectors."""
    import torch

    if weight.ndim < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
    drawn_norm = torch.linalg.vector_norm(drawn.flatten(1), dim=1)
    weight_norm = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    scale = torch.where(drawn_norm > 0, weight_norm / drawn_norm.clamp(min=1e-30), 0.0)
    return drawn * scale.view(-1, *[1] * (weight.ndim - 1))


def loss_with_graph(model: "PreTrainedModel", batch: "dict[str, Tensor]") -> "Tensor":
    """Mean NLL in nats over the supervised tokens of a right-padded batch, twice differentiable."""
    from torch.nn.functional import cross_entropy

    from ontogeny.data.collate import sides_of
    from ontogeny.models.body_and_head import side_arguments

    sides = side_arguments(model, sides_of(batch))
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False, **sides)
    supervised = batch["supervised"][:, 1:]
    return cross_entropy(output.logits[:, :-1][supervised].float(), batch["input_ids"][:, 1:][supervised])


def power_iteration(
    product: "Callable[[Sequence[Tensor]], list[Tensor]]", start: "list[Tensor]", iterations: int, tolerance: float
) -> tuple[float, bool]:
    """The eigenvalue of largest magnitude of a symmetric map, as the last Rayleigh quotient, and whether it converged.

    `product` applies the map to a vector, which is given in parts, as is `start`.
    """
    import torch

    vector, value = start, float("nan")
    for _ in range(iterations):
        norm = torch.sqrt(torch.stack([part.double().square().sum() for part in vector]).sum())
        if not float(norm) > 0:
            return 0.0, True
        vector = [(part / norm).to(part.dtype) for part in vector]
        image = product(vector)
        quotient = float(sum((v.double() * w.double()).sum() for v, w in zip(vector, image, strict=True)))
        previous, value = value, quotient
        if abs(value - previous) <= tolerance * abs(value):
            return value, True
        vector = [part.detach() for part in image]
    return value, False
