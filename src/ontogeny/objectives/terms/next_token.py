"""The usual loss of a causal language model."""

from typing import TYPE_CHECKING, Any

from ontogeny.core.contracts import Term, Unit
from ontogeny.core.schedule import Schedule, Scheduled

if TYPE_CHECKING:
    from torch import Tensor


class NextToken(Term):
    """Negative log-likelihood of the supervised tokens: a sum over tokens, in nats."""

    weight: Scheduled = Schedule(value=1.0)
    """Weight in the objective, over training."""

    def value(self, forward: Any) -> "tuple[Tensor, Unit]":
        """Sum of NLL over the supervised tokens of the batch; the unit is one supervised token."""
        return forward.nll.where(forward.supervised, 0.0).sum(), "tokens"
