"""The objective: the only place where loss terms are added."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ontogeny.core.contracts import Progress, Term, Unit
from ontogeny.core.errors import OntogenyError
from ontogeny.core.penalties import Penalty

if TYPE_CHECKING:
    from torch import Tensor, nn

Sums = dict[str, tuple[float, float]]
Listener = Callable[["dict[str, Tensor]", dict[str, float], "Tensor"], object]
"""Takes unweighted shares of terms with their graph, weights, and the weighted sum."""


class Objective:
    """A scheduled sum of terms: objective = sum over terms of weight(progress) x (sum of the term / its units).

    Training and evaluation go through the same object, with the same weights at the same step.
    """

    def __init__(
        self, terms: Sequence[Term | Penalty], remembered: "Mapping[str, Mapping[str, Tensor]] | None" = None
    ) -> None:
        """`remembered`: what each penalty remembers of the start, by name."""
        names = [term.name for term in terms]
        if len(set(names)) != len(names):
            raise ValueError(f"two terms share a name: {', '.join(names)}")
        self.terms = tuple(terms)
        self.remembered = remembered or {}
        self.listeners: list[Listener] = []
        """Told of every training loss; they change nothing."""

    def modules(self) -> "dict[str, nn.Module]":
        """The trainable parts that terms bring, by term name."""
        built = {term.name: term.build(None) for term in self.terms if isinstance(term, Term)}
        return {name: module for name, module in built.items() if module is not None}

    def weights(self, progress: Progress) -> dict[str, float]:
        """Weight of each term at this progress."""
        return {t.name: t.weight.at(progress.step, progress.total_steps) for t in self.terms}  # type: ignore[union-attr]

    def train_loss(
        self, forward: Any, progress: Progress, units: Mapping[Unit, float]
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """This micro-batch's share of the step's objective, to call `backward` on; and of each unweighted term.

        `units` counts tokens, examples and batches of the whole step (all micro-batches, all processes), so that the
        shares of all micro-batches add up to the objective, whatever the accumulation.
        """
        weights = self.weights(progress)
        shares: dict[str, Tensor] = {}
        total: Tensor | None = None
        for term in self.terms:
            value, unit = self._value(term, forward)
            shares[term.name] = value / units[unit]
            weighted = shares[term.name] * weights[term.name]
            total = weighted if total is None else total + weighted
        assert total is not None
        for listen in self.listeners:
            listen(shares, weights, total)
        return total, {name: share.detach() for name, share in shares.items()}

    def sums(self, forward: Any) -> Sums:
        """Each term's sum over a batch and the number of its units there; add them up over batches."""
        counts = count_units(forward)
        found: Sums = {}
        for term in self.terms:
            value, unit = self._value(term, forward)
            found[term.name] = (float(value.detach()), counts[unit])
        return found

    def _value(self, term: Term | Penalty, forward: Any) -> "tuple[Tensor, Unit]":
        if isinstance(term, Term):
            return term.value(forward)
        if term.name not in self.remembered:
            raise OntogenyError(f"the loss term '{term.name}' needs what was remembered of the start: it is not here")
        parameters = {name.removeprefix("module."): p for name, p in forward.model.named_parameters()}
        return term.value(parameters, self.remembered[term.name]), "batch"

    def combine(self, sums: Mapping[str, tuple[float, float]], progress: Progress) -> tuple[float, dict[str, float]]:
        """The objective and each unweighted term from accumulated sums, with the weights of that progress."""
        weights = self.weights(progress)
        terms = {name: total / units if units else float("nan") for name, (total, units) in sums.items()}
        return sum(weights[name] * value for name, value in terms.items()), terms


def count_units(forward: Any) -> dict[Unit, float]:
    """How many units of each kind a batch holds: supervised tokens, examples, one batch."""
    return {"tokens": float(forward.supervised.sum()), "examples": float(len(forward.input_ids)), "batch": 1.0}
