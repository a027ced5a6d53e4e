"""The objective: the only place where loss terms are added."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ontogeny.core.contracts import Progress, Term, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn

Sums = dict[str, tuple[float, float]]


class Objective:
    """A scheduled sum of terms: objective = sum over terms of weight(progress) x (sum of the term / its units).

    Training and evaluation go through the same object, with the same weights at the same step.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        names = [term.name for term in terms]
        if len(set(names)) != len(names):
            raise ValueError(f"two terms share a name: {', '.join(names)}")
        self.terms = tuple(terms)

    def modules(self) -> "dict[str, nn.Module]":
        """The trainable parts that terms bring, by term name."""
        built = {term.name: term.build(None) for term in self.terms}
        return {name: module for name, module in built.items() if module is not None}

    def weights(self, progress: Progress) -> dict[str, float]:
        """Weight of each term at this progress."""
        return {t.name: t.weight.at(progress.step, progress.total_steps) for t in self.terms}  # type: ignore[attr-defined]

    def train_loss(
        self, forward: Any, progress: Progress, units: Mapping[Unit, float]
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """This micro-batch's share of the step's objective, to call `backward` on; and of each unweighted term.

        `units` counts tokens, examples and batches of the whole step (all micro-batches, all processes), so that the
        shares of all micro-batches add up to the objective, whatever the accumulation.
        """
        weights = self.weights(progress)
        parts: dict[str, Tensor] = {}
        total: Tensor | None = None
        for term in self.terms:
            value, unit = term.value(forward)
            share = value / units[unit]
            parts[term.name] = share.detach()
            weighted = share * weights[term.name]
            total = weighted if total is None else total + weighted
        assert total is not None
        return total, parts

    def sums(self, forward: Any) -> Sums:
        """Each term's sum over a batch and the number of its units there; add them up over batches."""
        counts = count_units(forward)
        found: Sums = {}
        for term in self.terms:
            value, unit = term.value(forward)
            found[term.name] = (float(value.detach()), counts[unit])
        return found

    def combine(self, sums: Mapping[str, tuple[float, float]], progress: Progress) -> tuple[float, dict[str, float]]:
        """The objective and each unweighted term from accumulated sums, with the weights of that progress."""
        weights = self.weights(progress)
        terms = {name: total / units if units else float("nan") for name, (total, units) in sums.items()}
        return sum(weights[name] * value for name, value in terms.items()), terms


def count_units(forward: Any) -> dict[Unit, float]:
    """How many units of each kind a batch holds: supervised tokens, examples, one batch."""
    return {"tokens": float(forward.supervised.sum()), "examples": float(len(forward.input_ids)), "batch": 1.0}
