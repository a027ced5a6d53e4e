"""Learn where a teacher looks."""

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.errors import OntogenyError
from ontogeny.core.names import Name
from ontogeny.core.terms import Forward, Term, TermContext, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn

APART = 1e-2
"""Probabilities may add up to 1 with this error: bf16 has 8 bits."""


class Attention(Term):
    """KL divergence from the teacher's attention probabilities to the student's, in nats.

    A sum over supervised tokens of the divergence at the position that predicts each, averaged over pairs of layers and
    over heads (Wang et al. 2020, "MiniLM", eq. 4; Jiao et al. 2020, "TinyBERT", eq. 7, which compares logits). By
    default head i of H learns the mean of the teacher's heads i T / H to (i + 1) T / H of T, or the one there is in
    that share. 0 where the student is the teacher.

    Needs a teacher with the student's tokenizer, and no dropout on attention probabilities: models return them after
    it, when they are none. Both models run with eager attention.
    """

    teacher: Name = "teacher"
    """The companion that teaches."""
    layers: tuple[tuple[int, int], ...] | None = Field(default=None, min_length=1)
    """[student's block, teacher's block] pairs, counted from 1, the last blocks last; by default each block of the
    student with the teacher's at the same share of the depth."""
    heads: tuple[tuple[int, int], ...] | None = Field(default=None, min_length=1)
    """[student's head, teacher's head] pairs, counted from 1, in all layers alike; a head that stands in several pairs
    learns the mean of its teachers, a head in none learns nothing."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"attentions"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset({"attentions"})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for i, pair in enumerate(self.heads or ()):
            if self.heads is not None and pair in self.heads[:i]:
                raise refusal(f"heads {list(pair)} stand twice: name each pair once", "heads", i)
        return self

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    def build(self, context: TermContext) -> "nn.Module | None":
        """Nothing is trained. Raises OntogenyError for other tokens, or layers and heads that are not there."""
        from ontogeny.objectives.layers import blocks_of, require_same_tokens

        require_same_tokens(context, self.teacher, self.label, "attention")
        teacher = context.companions[self.teacher]
        blocks_of(self.layers, context.model.blocks, teacher.blocks, self.label)
        for ours, theirs in self.heads or ():
            if not (1 <= ours <= context.model.heads and 1 <= theirs <= teacher.heads):
                raise OntogenyError(
                    f"'{self.label}' compares head {ours} with the teacher's head {theirs}; the model has heads 1 to "
                    f"{context.model.heads}, the teacher 1 to {teacher.heads}: write other heads"
                )
        return None

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over supervised tokens. Raises OntogenyError where the probabilities do not add up to 1."""
        import torch

        from ontogeny.objectives.divergence import kl
        from ontogeny.objectives.layers import blocks_of, predicting
        from ontogeny.objectives.tiled_divergence import log_of_mass

        ours, theirs = forward.attentions, forward.companions[self.teacher].attentions
        positions = predicting(forward.supervised)
        students, shares = self._head_shares(ours[0].shape[1], theirs[0].shape[1])
        values = []
        for i, j in blocks_of(self.layers, len(ours), len(theirs), self.label):
            student = self._rows(ours[i - 1], positions)[:, students]
            teacher = self._rows(theirs[j - 1], positions).to(student.dtype)
            mixed = torch.einsum("st,ntk->nsk", shares.to(teacher), teacher)
            values.append(kl(log_of_mass(mixed).flatten(0, 1), log_of_mass(student).flatten(0, 1)).sum())
        return torch.stack(values).mean() / len(students), "tokens"

    def _rows(self, attention: "Tensor", positions: "Tensor") -> "Tensor":
        """[n, heads, T]: where each of the positions looks, from [B, heads, T, T]."""
        rows = attention.transpose(1, 2).flatten(0, 1)[positions]
        if len(rows) and float((rows.detach().sum(-1) - 1).abs().max()) > APART:
            raise OntogenyError(
                f"'{self.label}' reads attention probabilities, and these do not add up to 1, as after dropout: write "
                "train.dropout: 0"
            )
        return rows.to(rows.dtype if rows.itemsize == 8 else rows.float().dtype)

    def _head_shares(self, ours: int, theirs: int) -> "tuple[list[int], Tensor]":
        """Student's heads that learn, from 0, and the shares of the teacher's heads in each, [heads, teacher's]."""
        import torch

        if self.heads is None:
            students = list(range(ours))
            taught = [(i, j) for i in students for j in shared_heads(i, ours, theirs)]
        else:
            students = sorted({i - 1 for i, _ in self.heads})
            taught = [(i - 1, j - 1) for i, j in self.heads]
        shares = torch.zeros(len(students), theirs)
        for i, j in taught:
            shares[students.index(i), j] = 1.0
        return students, shares / shares.sum(1, keepdim=True)


def shared_heads(i: int, ours: int, theirs: int) -> range:
    """The teacher's heads, from 0, in the share of head i of `ours`; always at least one."""
    first = i * theirs // ours
    return range(first, max((i + 1) * theirs // ours, first + 1))
