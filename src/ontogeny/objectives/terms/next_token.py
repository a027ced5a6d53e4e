"""The usual loss of a causal language model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ontogeny.core.terms import Forward, Term, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor


class NextToken(Term):
    """Negative log-likelihood of the supervised tokens: a sum over tokens, in nats.

    With `label_smoothing` e it is the cross-entropy to a target of 1 - e + e / V on the token and e / V on every other
    id of the vocabulary V (Szegedy et al. 2016, "Rethinking the Inception architecture", section 7), and the plain NLL
    is recorded besides as `<term>_nll`. Perplexity comes from the plain NLL in any case.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over the vocabulary."""

    added_later: ClassVar[frozenset[str]] = Term.added_later | {"label_smoothing"}

    @property
    def needed(self) -> frozenset[TermNeed]:
        """The NLL; with smoothing all logits, too."""
        return frozenset({"nll", "logits"} if self.label_smoothing else {"nll"})

    @property
    def details(self) -> tuple[str, ...]:
        """The plain NLL, where the value is another."""
        return ("nll",) if self.label_smoothing else ()

    @property
    def is_plain_nll(self) -> bool:
        """Without smoothing."""
        return not self.label_smoothing

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over the supervised tokens of the batch; the unit is one supervised token."""
        from torch.nn import functional as F

        if not self.label_smoothing:
            return forward.nll.where(forward.supervised, 0.0).sum(), "tokens"
        predicted = forward.supervised[:, 1:]
        logits = forward.logits[:, :-1][predicted]
        targets, wide = forward.input_ids[:, 1:][predicted], logits if logits.itemsize == 8 else logits.float()
        smooth = F.cross_entropy(wide, targets, label_smoothing=self.label_smoothing, reduction="sum")
        return smooth, "tokens"

    def tell(self, value: "Tensor", forward: Forward) -> "Mapping[str, Tensor]":
        """With smoothing: the sum of the plain NLL."""
        return {"nll": forward.nll.where(forward.supervised, 0.0).sum()} if self.label_smoothing else {}
