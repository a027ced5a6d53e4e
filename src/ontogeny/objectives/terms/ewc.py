"""Stay near the start where it matters to an older text."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from ontogeny.core.schedule import Schedule
from ontogeny.core.takes import Take
from ontogeny.core.terms import Forward, Start, Term, Unit, require_pull

if TYPE_CHECKING:
    from torch import Tensor


class Ewc(Term):
    """Elastic weight consolidation (Kirkpatrick et al. 2017): 1/2 sum_i F_i (theta_i - start_i)^2, in nats per token.

    F is the diagonal of the Fisher information of the model that training starts from, on passages of `text`: the mean
    over passages of the squared gradient of their summed log-likelihood, divided by their mean number of supervised
    tokens. So the term is about the KL divergence per token from the start on that text, as long as the weights moved
    little and independently; with weight 1 it counts as much as a nat per token of the new text. Computed once, before
    training, from per-example gradients; kept in the run with the weights of the start. Added once to the loss of a
    step.

    Online, over tasks that are runs one after the other (Schwarz et al. 2018, "Progress & compress"): with `decay` g,
    F = g x F of the same term in the run that the model comes from + F here; the anchor is always the start of this
    run. Within a run it is not estimated again.
    """

    text: Take
    """Text that must not be forgotten; 128 passages are a beginning."""
    decay: float = Field(default=0.0, ge=0, le=1)
    """How much of what this term held important in the run before still counts; 0 for none of it."""
    labels: Literal["sampled", "data"] = "sampled"
    """sampled: targets drawn from the model, the true Fisher information. data: the text's own, the empirical one."""

    anchored: ClassVar[bool] = True

    @field_validator("weight")
    @classmethod
    def _pulls(cls, weight: Schedule) -> Schedule:
        return require_pull(weight)

    @property
    def reads(self) -> Take:
        """The text that must not be forgotten."""
        return self.text

    def anchor(self, start: Start) -> "Mapping[str, Tensor]":
        """The weights, and the Fisher information per token of each."""
        from ontogeny.models.fisher import diagonal_fisher
        from ontogeny.objectives.anchor import anchor_of, importance_of

        fisher = diagonal_fisher(start.model, start.passages, labels=self.labels, seed=start.seed).per_token()
        for name, before in importance_of(start.earlier).items() if self.decay else ():
            fisher[name] = fisher[name] + self.decay * before.to(fisher[name].device)
        return anchor_of(start.model, fisher)

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Half the squared distance from the anchor, weighted by importance."""
        from ontogeny.objectives.anchor import distance

        return distance(forward.parameters, forward.anchor), "batch"
