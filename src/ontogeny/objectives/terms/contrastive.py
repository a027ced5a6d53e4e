"""Learn which text a teacher means, among others."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.names import Name
from ontogeny.core.terms import Forward, Term, TermContext, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn

WINDOW = 8
"""Tokens of a pooled piece by default, where pieces of a passage are compared."""


class Contrastive(Term):
    """InfoNCE between pooled states of the student and of the teacher, in nats.

    A piece of text is pooled to the mean of its last hidden states: s_i of the student, projected to the teacher's
    width, and t_i of the teacher. Per piece, -log [exp(cos(s_i, t_i) / temperature) / sum_j exp(cos(s_i, t_j) /
    temperature)]: the teacher's state of the same piece is the positive, on the diagonal, and stands in the sum, too
    (van den Oord et al. 2018, "Representation learning with contrastive predictive coding", eq. 4; Tian et al. 2020,
    "Contrastive representation distillation"). A sum over passages, of the mean over a passage's pieces.

    With N pieces it is ln N where nothing is told apart, and at least ln(1 + (N - 1) exp(-2 / temperature)). It is not
    0 where the student is the teacher: then it has the value that the teacher's own states give, told as
    `<term>_floor`.

    The projection has no bias, is trained with the model and saved in checkpoints.
    """

    teacher: Name = "teacher"
    """The companion that teaches. It may have a tokenizer of its own where passages are compared."""
    among: Literal["passage", "batch"] = "passage"
    """passage: pieces of `window` tokens among those of the same passage, so that other passages, and accumulation,
    change nothing. batch: passages among those of the batch, which then is not cut into pieces."""
    window: int | None = Field(default=None, ge=1)
    """passage only: tokens of a piece; by default 8. What is left over at the end is a piece, too."""
    temperature: float = Field(default=0.1, gt=0)
    """Cosines are divided by it."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"hidden_states"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset({"hidden_states"})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.window is not None and self.among == "batch":
            raise refusal("'window' means nothing where whole passages are compared, only to among: passage", "window")
        return self

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    @property
    def whole_batch(self) -> bool:
        """Where passages are compared with one another."""
        return self.among == "batch"

    @property
    def details(self) -> tuple[str, ...]:
        """What the same states cost when the teacher's take the place of the student's."""
        return ("floor",)

    def build(self, context: TermContext) -> "nn.Module":
        """The projection. Raises OntogenyError for a teacher with other tokens where pieces are compared."""
        from ontogeny.objectives.layers import require_same_tokens
        from ontogeny.objectives.projection import projection

        if self.among == "passage":
            require_same_tokens(context, self.teacher, self.label, "pieces")
        return projection(context.model.width, context.companions[self.teacher].width)

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over passages; the unit is a passage."""
        assert forward.module is not None
        ours = forward.module(self._pooled(forward.hidden_states[-1], forward.attention_mask))
        return self._among_teachers(ours, forward), "examples"

    def tell(self, value: "Tensor", forward: Forward) -> "dict[str, Tensor]":
        """`floor`, a sum over passages."""
        teacher = forward.companions[self.teacher]
        return {"floor": self._among_teachers(self._pooled(teacher.hidden_states[-1], teacher.attention_mask), forward)}

    def _among_teachers(self, ours: "Tensor", forward: Forward) -> "Tensor":
        """Sum over passages of InfoNCE of `ours` [B, P, D] among the teacher's pooled states."""
        from torch.nn import functional as F

        teacher = forward.companions[self.teacher]
        theirs = self._pooled(teacher.hidden_states[-1], teacher.attention_mask).to(ours.dtype)
        there = self._pieces(teacher.attention_mask)
        if self.among == "batch":
            ours, theirs, there = ours.transpose(0, 1), theirs.transpose(0, 1), there.transpose(0, 1)
        cosines = F.normalize(ours, dim=-1) @ F.normalize(theirs, dim=-1).mT / self.temperature
        cosines = cosines.masked_fill(~there[:, None, :], -float("inf"))
        positive = cosines.diagonal(dim1=1, dim2=2)
        lost = (cosines.logsumexp(-1) - positive).where(there, positive.new_zeros(()))
        return lost.sum() if self.among == "batch" else (lost.sum(1) / there.sum(1)).sum()

    def _pieces(self, mask: "Tensor") -> "Tensor":
        """bool [B, P]: pieces that a passage has, from its mask [B, T]."""
        return mask[:, :: self._length(mask)].bool()

    def _pooled(self, states: "Tensor", mask: "Tensor") -> "Tensor":
        """[B, P, D]: mean state of each piece, from [B, T, D]; 0 for a piece that is not there."""
        from torch.nn import functional as F

        length = self._length(mask)
        missing = -mask.shape[1] % length
        weights = F.pad(mask, (0, missing)).to(states.dtype)[..., None]
        summed = (F.pad(states, (0, 0, 0, missing)) * weights).unflatten(1, (-1, length)).sum(2)
        return summed / weights.unflatten(1, (-1, length)).sum(2).clamp(min=1)

    def _length(self, mask: "Tensor") -> int:
        """Tokens of a piece."""
        return mask.shape[1] if self.among == "batch" else self.window or WINDOW
