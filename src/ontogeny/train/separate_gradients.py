"""The gradient of each term by itself, over all micro-batches of a step, for weightings that combine them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ontogeny.core.seeds import derive_seed
from ontogeny.train.session import Session

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class SeparateGradients:
    """Takes the summands of one micro-batch after another, and leaves the combined gradient in `.grad`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        own = {id(p) for p in session.model.parameters()}
        parameters = [p for group in session.optimizer.param_groups for p in group["params"]]
        self._parameters = [p for p in parameters if id(p) in own]
        self._others = [p for p in parameters if id(p) not in own]
        """What terms trained for themselves: it has one gradient, which is not combined."""
        self._gradients: dict[str, list[Tensor]] = {}

    def add(self, summands: "Mapping[str, Tensor]") -> None:
        """Take the gradients of a micro-batch. Their graph is gone afterwards."""
        import torch

        every = [*self._parameters, *self._others]
        for place, (label, summand) in enumerate(summands.items(), start=1):
            more = place < len(summands)
            taken = torch.autograd.grad(summand, every, retain_graph=more, allow_unused=True)
            gradients = [torch.zeros_like(p) if g is None else g for g, p in zip(taken, every, strict=True)]
            if label in self._gradients:
                torch._foreach_add_(self._gradients[label], gradients)
            else:
                self._gradients[label] = gradients

    def combine(self) -> dict[str, float]:
        """Fill `.grad`; returns the coefficient of each term's gradient."""
        import torch

        session, shared = self._session, len(self._parameters)
        seed = derive_seed(session.train.seed, "weighting", session.step)
        combined = session.objective.weighting.coefficients(self._products(), seed)
        coefficients = dict(zip(self._gradients, map(float, combined), strict=True))
        for i, p in enumerate([*self._parameters, *self._others]):
            p.grad = torch.zeros_like(p)
            for label, gradients in self._gradients.items():
                p.grad.add_(gradients[i], alpha=coefficients[label] if i < shared else 1.0)
        return coefficients

    def _products(self) -> "np.ndarray":
        """float64 [n, n]: products of the gradients over the model's parameters."""
        import numpy as np
        import torch

        total = np.zeros((len(self._gradients), len(self._gradients)))
        for i in range(len(self._parameters)):
            rows = torch.stack([gradients[i].flatten() for gradients in self._gradients.values()]).float()
            total += (rows @ rows.T).double().cpu().numpy()
        return total
