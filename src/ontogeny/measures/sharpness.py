"""The loss around the weights: along random directions, and its strongest curvature."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.contracts import Context, Observation, StateMeasure
from ontogeny.core.errors import DataError
from ontogeny.core.seeds import derive_seed
from ontogeny.looking.axes import probe_names, variable

if TYPE_CHECKING:
    from torch import Tensor


class Sharpness(StateMeasure):
    """Of the mean next-token NLL on a fixed batch (the first passages of a probe set, no dropout), per probe set:

    `loss`, at the weights plus `distance` times each of `directions` random directions, filter-normalised (Li et al.,
    "Visualizing the loss landscape of neural nets", 2018): Gaussian, each row of a matrix scaled to the norm of that
    row of the weights; vectors (biases, norms) stay. The same directions at every state.
    `rise`: mean over directions and both signs of the loss at the largest distance, less the loss at 0.
    `top_eigenvalue`: of the Hessian, by power iteration on Hessian-vector products over the trained parameters, until
    it changes by less than `tolerance` or `iterations` are done (`converged` says which): the eigenvalue of largest
    magnitude, so it may be negative.
    """

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to look at; by default all."""
    passages: int = Field(default=16, ge=1)
    """Passages of the batch."""
    directions: int = Field(default=2, ge=1)
    """Random directions."""
    distances: tuple[float, ...] = Field(default=(-0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5), min_length=3)
    """In units of the weights' own row norms; 0 must be among them."""
    iterations: int = Field(default=20, ge=0)
    """Most power iterations; 0 to leave the eigenvalue out."""
    tolerance: float = Field(default=1e-2, gt=0)
    """Relative change at which the eigenvalue counts as found."""

    moves_weights: ClassVar[bool] = True
    cost: ClassVar[str] = "per probe set directions x distances forward passes, and about 5 passes per iteration"

    def look(self, context: Context) -> Observation:
        """Walk away from the weights and back, then iterate."""
        import xarray as xr

        if 0.0 not in self.distances:
            raise DataError(f"sharpness: distances {list(self.distances)} must hold 0")
        context.model.eval()
        names = probe_names(context, self.probes)
        parameters = [p for p in context.model.parameters() if p.requires_grad]
        curves, tops, converged = [], [], []
        for name in names:
            batch = self._batch(context, name)
            if batch is None:
                curves.append(np.full((self.directions, len(self.distances)), np.nan))
                tops.append(float("nan"))
                converged.append(False)
                continue
            curves.append(self._curves(context, batch, parameters))
            top, found = self._top(context, batch, parameters) if self.iterations else (float("nan"), False)
            tops.append(top)
            converged.append(found)
        loss = np.array(curves).reshape(len(names), self.directions, len(self.distances))
        zero, outer = self.distances.index(0.0), np.abs(self.distances)
        rise = (loss[:, :, outer == outer.max()] - loss[:, :, [zero]]).mean(axis=(1, 2))
        variables: dict[str, Any] = {
            "loss": variable(("probe", "direction", "distance"), loss, "nats", "mean NLL along a random direction"),
            "rise": variable("probe", rise, "nats", "rise of the loss at the largest distance"),
            "top_eigenvalue": variable("probe", tops, "1", "top eigenvalue of the Hessian"),
            "converged": variable("probe", np.array(converged), "1", "did the power iteration converge"),
        }
        coordinates = {
            "probe": np.array(names, dtype=np.str_),
            "direction": np.arange(self.directions),
            "distance": np.array(self.distances),
        }
        return Observation(arrays=xr.Dataset(variables, coordinates))

    def _batch(self, context: Context, name: str) -> "dict[str, Tensor] | None":
        """The first passages of the set that predict anything; None if there are none."""
        from ontogeny.data.collate import collate

        chosen = [p for p in context.probes[name].passages if len(p) >= 2][: self.passages]
        if not chosen:
            return None
        device = next(context.model.parameters()).device
        return collate(chosen, 0).to(device)

    def _curves(self, context: Context, batch: "dict[str, Tensor]", parameters: "Sequence[Tensor]") -> np.ndarray:
        """Losses [directions, distances]; the weights are as before, to the bit."""
        import torch

        losses = np.zeros((self.directions, len(self.distances)))
        originals = [p.detach().clone() for p in parameters]
        device = parameters[0].device
        for row in range(self.directions):
            generator = torch.Generator(device).manual_seed(derive_seed(context.seed, "sharpness", row))
            direction = [filter_normalised(p, generator) for p in originals]
            for column, distance in enumerate(self.distances):
                with torch.no_grad():
                    for parameter, original, along in zip(parameters, originals, direction, strict=True):
                        parameter.data.copy_(original + distance * along)
                    losses[row, column] = float(mean_nll(context.model, batch))
        for parameter, original in zip(parameters, originals, strict=True):
            parameter.data.copy_(original)
        return losses

    def _top(self, context: Context, batch: "dict[str, Tensor]", parameters: "Sequence[Tensor]") -> tuple[float, bool]:
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel

        generator = torch.Generator(parameters[0].device).manual_seed(derive_seed(context.seed, "sharpness", "power"))
        start = [torch.randn(p.shape, generator=generator, device=p.device) for p in parameters]

        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
            loss = mean_nll(context.model, batch)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)

            def product(vector: "Sequence[Tensor]") -> "list[Tensor]":
                pairs = [(g, v) for g, v in zip(gradients, vector, strict=True) if g is not None]
                along = torch.stack([(g * v).sum() for g, v in pairs]).sum()
                found = torch.autograd.grad(along, parameters, retain_graph=True, allow_unused=True)
                return [torch.zeros_like(p) if f is None else f for p, f in zip(parameters, found, strict=True)]

            return power_iteration(product, start, self.iterations, self.tolerance)


def filter_normalised(weight: "Tensor", generator: Any) -> "Tensor":
    """A Gaussian direction with each row's norm that of the weight's row; zero for vectors."""
    import torch

    if weight.ndim < 2:
        return torch.zeros_like(weight)
    drawn = torch.randn(weight.shape, generator=generator, device=weight.device, dtype=weight.dtype)
    norms = torch.linalg.vector_norm(drawn.flatten(1), dim=1), torch.linalg.vector_norm(weight.flatten(1), dim=1)
    scale = torch.where(norms[0] > 0, norms[1] / norms[0].clamp(min=1e-30), 0.0)
    return drawn * scale.view(-1, *[1] * (weight.ndim - 1))


def mean_nll(model: Any, batch: "dict[str, Tensor]") -> "Tensor":
    """Mean NLL in nats over the supervised tokens of a right-padded batch."""
    from torch.nn.functional import cross_entropy

    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits
    counted = batch["supervised"][:, 1:]
    return cross_entropy(logits[:, :-1][counted].float(), batch["input_ids"][:, 1:][counted])


def power_iteration(product: Any, start: "list[Tensor]", iterations: int, tolerance: float) -> tuple[float, bool]:
    """The eigenvalue of largest magnitude of a symmetric map, and whether it settled. Rayleigh quotient of the last."""
    import torch

    vector, value = start, float("nan")
    for _ in range(iterations):
        norm = torch.sqrt(torch.stack([v.double().square().sum() for v in vector]).sum())
        if not float(norm) > 0:
            return 0.0, True
        vector = [(v / norm).to(v.dtype) for v in vector]
        image = product(vector)
        before, value = value, float(sum((v.double() * w.double()).sum() for v, w in zip(vector, image, strict=True)))
        if abs(value - before) <= tolerance * abs(value):
            return value, True
        vector = [w.detach() for w in image]
    return value, False
