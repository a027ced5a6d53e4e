"""Which terms of the loss pull together, and which pull against the plain NLL."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.core.errors import OntogenyError
from ontogeny.core.measures import Context, Observation, StateMeasure
from ontogeny.core.passages import Passage, document_of
from ontogeny.core.schedule import Cadence
from ontogeny.looking.axes import dataset, variable
from ontogeny.objectives.compose import count_units

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor, nn

NLL = "nll"
"""Stands for the gradient of the plain NLL on the axes `term` and `other`."""


class TermGradients(StateMeasure):
    """Gradients of the loss terms on two halves of the next step's batch, in evaluation mode, in nats per unit.

    The halves share no document, unless there is only one. With a_i and b_i the gradients of term i on either half, and
    g_i the one on both:

    - `cosine` [term, other, block]: mean of cos(a_i, b_j) and cos(a_j, b_i), over the weights of one block, and
      `cosine_all` over all trained weights. Taken across halves, it does not count what two terms share by looking at
      the same tokens. `other` = `term` is the same term's own cosine between halves: the ceiling that noise leaves.
      Below 0, two terms work against each other; the last entry of both axes, `nll`, is the plain next-token NLL.
    - `share` [term], `share_block` [term, block]: w_i g_i . g / |g|^2 with g = sum w_i g_i. Shares add up to 1; one
      below 0 works against the step.
    - `norm` [term]: |w_i g_i|, and `weight` [term]: w_i. Of `nll`, the norm of its gradient, without weight.

    NaN for terms of weight 0: they are not optimised.
    """

    at: Cadence | None = Cadence(every_steps=100)
    """When to look; by default at every hundredth state, the first and the last."""
    passages: int | None = Field(default=None, ge=2)
    """At most so many passages of the batch, to look at a lower price; by default all."""

    cost: ClassVar[str] = (
        "for each look one forward pass over a batch, and one backward pass for each term and for the NLL; two "
        "gradients for each term in memory"
    )
    live: ClassVar[bool] = True

    def look(self, context: Context) -> Observation:
        """Raises OntogenyError without a training, or with fewer than two passages in a batch."""
        from ontogeny.models.weights import block_axis

        if context.training is None:
            raise OntogenyError(f"'{self.group}' needs the training itself: put it into the recipe's measures")
        batch: Sequence[Passage] = getattr(context.training.next_batch(), "passages", ())
        context.model.eval()
        parameters = {name: p for name, p in context.model.named_parameters() if p.requires_grad}
        first, second = (
            _Gradients(context, half, list(parameters.values())) for half in halves_of(batch[: self.passages])
        )
        labels = [*(term.label for term in context.objective.terms), NLL]
        blocks = block_axis(parameters)
        axis = np.unique(blocks)
        products = np.stack([_products(first, second, labels, np.flatnonzero(blocks == block)) for block in axis])
        weights = context.objective.weights(context.progress)
        on_first = np.array([first.units.get(label, np.nan) for label in labels])
        part = on_first / (on_first + np.array([second.units.get(label, np.nan) for label in labels]))
        return Observation(arrays=_described(products, part, weights, labels, axis))


def halves_of(passages: Sequence[Passage]) -> tuple[list[Passage], list[Passage]]:
    """Two halves without a common document, as equal in number as documents allow; of one document, first and last.

    Raises OntogenyError for fewer than two passages.
    """
    if len(passages) < 2:
        raise OntogenyError("two halves need a batch of two passages: write a larger train.batch")
    by_document: dict[str, list[Passage]] = {}
    for passage in passages:
        by_document.setdefault(document_of(passage.source), []).append(passage)
    if len(by_document) == 1:
        middle = len(passages) // 2
        return list(passages[:middle]), list(passages[middle:])
    halves: tuple[list[Passage], list[Passage]] = ([], [])
    for group in sorted(by_document.values(), key=len, reverse=True):
        min(halves, key=len).extend(group)
    return halves


class _Gradients:
    """The gradients of the optimised terms, and of the NLL, on some passages: per unit, without weights."""

    def __init__(self, context: Context, passages: Sequence[Passage], parameters: "Sequence[nn.Parameter]") -> None:
        import torch

        from ontogeny.data.collate import collate

        self.units: dict[str, float] = {}
        self.of: dict[str, list[Tensor]] = {}
        device = next(context.model.parameters()).device
        objective = context.objective
        with torch.enable_grad():
            forward = objective.forward(context.model, collate(passages, 0).to(device))
            counts = count_units(forward)
            for term in objective.optimised(context.progress):
                value, unit = objective.value_of(term, forward, context.progress)
                self._take(term.label, value, counts[unit], parameters)
                if term.is_plain_nll:
                    self.of[NLL], self.units[NLL] = self.of[term.label], self.units[term.label]
            if NLL not in self.of:
                self._take(NLL, forward.nll.where(forward.supervised, 0.0).sum(), counts["tokens"], parameters)

    def _take(self, label: str, value: "Tensor", units: float, parameters: "Sequence[nn.Parameter]") -> None:
        import torch

        gradients = torch.autograd.grad(value / max(units, 1.0), parameters, retain_graph=True, allow_unused=True)
        pairs = zip(gradients, parameters, strict=True)
        self.of[label] = [torch.zeros_like(p) if gradient is None else gradient for gradient, p in pairs]
        self.units[label] = units


def _products(first: _Gradients, second: _Gradients, labels: Sequence[str], places: np.ndarray) -> np.ndarray:
    """float64 [2 n, 2 n]: products of the n gradients on the first half, then on the second, over some parameters.

    NaN for terms of weight 0.
    """
    import torch

    known = [i for i, label in enumerate(labels) if label in first.of]
    total = np.zeros((2 * len(known), 2 * len(known)))
    for place in places:
        rows = torch.stack([half.of[labels[i]][place].flatten() for half in (first, second) for i in known])
        total += (rows @ rows.T).double().cpu().numpy()
    products = np.full((2 * len(labels), 2 * len(labels)), np.nan)
    shown = np.array([*known, *(len(labels) + i for i in known)])
    products[np.ix_(shown, shown)] = total
    return products


def _described(
    products: np.ndarray, part: np.ndarray, weights: Mapping[str, float], labels: Sequence[str], blocks: np.ndarray
) -> "xr.Dataset":
    """The arrays of a look. `products` [block, 2 n, 2 n]; `part` [n]: the first half's part of each term's units."""
    w = np.array([weights.get(label, 0.0) for label in labels])
    w[w == 0] = np.nan
    pulls = w[:, None] * w * _on_both(products, part)
    together = ("term", "other")
    variables = {
        "cosine": variable(
            (*together, "block"), np.moveaxis(_cosines(products), 0, -1), "1", "cosine of gradients across halves"
        ),
        "cosine_all": variable(together, _cosines(products.sum(axis=0)), "1", "the same over all trained weights"),
        "share": variable("term", _shares(pulls.sum(axis=0)), "1", "share of the step's gradient, w g_i . g / |g|^2"),
        "share_block": variable(
            ("term", "block"), np.stack([_shares(pull) for pull in pulls], axis=-1), "1", "the same in one block"
        ),
        "norm": variable(
            "term",
            np.sqrt(np.diagonal(_on_both(products, part).sum(axis=0))) * np.where(np.array(labels) == NLL, 1.0, w),
            "nats",
            "L2 norm of the weighted gradient",
        ),
        "weight": variable("term", np.where(np.isnan(w), 0.0, w), "1", "weight of the term"),
    }
    names = np.array(labels, dtype=np.str_)
    return dataset(variables, {"term": names, "other": names, "block": blocks})


def _cosines(products: np.ndarray) -> np.ndarray:
    """[..., n, n]: cosines across halves, both ways averaged. NaN where a gradient is 0."""
    n = products.shape[-1] // 2
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.sqrt(squares[..., :n, None] * squares[..., None, n:])
        across = products[..., :n, n:] / lengths
    return (across + np.swapaxes(across, -1, -2)) / 2


def _on_both(products: np.ndarray, part: np.ndarray) -> np.ndarray:
    """[..., n, n]: products of the gradients on both halves together, part x first + (1 - part) x second."""
    n = len(part)
    mixing = np.concatenate([np.diag(part), np.diag(1 - part)], axis=1)
    kept = np.where(np.isnan(products), 0.0, products)
    mixed = np.nan_to_num(mixing) @ kept @ np.nan_to_num(mixing).T
    return np.where(np.isnan(products[..., :n, :n]), np.nan, mixed)


def _shares(pulls: np.ndarray) -> np.ndarray:
    """[n]: share of each term, from products [n, n] of weighted gradients. NaN for terms that have none."""
    total = np.nansum(pulls)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares: np.ndarray = np.where(np.isnan(np.diagonal(pulls)), np.nan, np.nansum(pulls, axis=1) / total)
    return shares
