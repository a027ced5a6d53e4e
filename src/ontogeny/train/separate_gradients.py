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
        self._gradients: dict[str, list[Tensor | None]] = {}
        """By label; None of a parameter that the term does not reach."""

    def add(self, summands: "Mapping[str, Tensor]") -> None:
        """Take the gradients of a micro-batch. Their graph is gone afterwards."""
        import torch

        every = [*self._parameters, *self._others]
        for place, (label, summand) in enumerate(summands.items(), start=1):
            more = place < len(summands)
            taken = torch.autograd.grad(summand, every, retain_graph=more, allow_unused=True)
            earlier = self._gradients.get(label, [None] * len(every))
            self._gradients[label] = [_sum(old, new) for old, new in zip(earlier, taken, strict=True)]

    def combine(self) -> dict[str, float]:
        """Fill `.grad`; returns the coefficient of each term's gradient.

        What no term reaches has none, as after one backward pass: the optimizer leaves it alone.
        """
        session, shared = self._session, len(self._parameters)
        seed = derive_seed(session.train.seed, "weighting", session.step)
        combined = session.objective.weighting.coefficients(self._products(), seed)
        coefficients = dict(zip(self._gradients, map(float, combined), strict=True))
        for i, p in enumerate([*self._parameters, *self._others]):
            p.grad = None
            for label, gradients in self._gradients.items():
                if (gradient := gradients[i]) is not None:
                    p.grad = _sum(p.grad, gradient * (coefficients[label] if i < shared else 1.0))
        return coefficients

    def _products(self) -> "np.ndarray":
        """float64 [n, n]: products of the gradients over the model's parameters."""
        import numpy as np
        import torch

        total = np.zeros((len(self._gradients), len(self._gradients)))
        for i, p in enumerate(self._parameters):
            of_terms = [gradients[i] for gradients in self._gradients.values()]
            rows = torch.stack([(torch.zeros_like(p) if g is None else g).flatten() for g in of_terms]).float()
            total += (rows @ rows.T).double().cpu().numpy()
        return total


def _sum(total: "Tensor | None", more: "Tensor | None") -> "Tensor | None":
    """None where there is neither. Not in place: autograd may give one tensor as the gradient of two parameters."""
    if total is None or more is None:
        return more if total is None else total
    return total + more
