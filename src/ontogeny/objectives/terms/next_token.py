"""The usual loss of a causal language model."""

from typing import TYPE_CHECKING, ClassVar

from ontogeny.core.terms import Forward, Term, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor


class NextToken(Term):
    """Negative log-likelihood of the supervised tokens: a sum over tokens, in nats."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"nll"})

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum of NLL over the supervised tokens of the batch; the unit is one supervised token."""
        return forward.nll.where(forward.supervised, 0.0).sum(), "tokens"
