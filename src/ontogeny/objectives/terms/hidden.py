"""Learn a teacher's hidden states."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ontogeny.core.names import Name
from ontogeny.core.terms import Forward, Term, TermContext, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn


class Hidden(Term):
    """Distance between the student's hidden states, projected to the teacher's width, and the teacher's.

    A sum over supervised tokens of the distance at the position that predicts each, averaged over the pairs of layers
    (Romero et al. 2015, "FitNets"; Jiao et al. 2020, "TinyBERT", eq. 9). The last block's state is the one after the
    final norm. Each pair has a projection of its own, without bias, that is trained with the model and saved in
    checkpoints. It begins as the identity where both widths are the same, so that the term is 0 where the student is
    the teacher.

    Needs a teacher with the student's tokenizer.
    """

    teacher: Name = "teacher"
    """The companion that teaches."""
    layers: tuple[tuple[int, int], ...] | None = Field(default=None, min_length=1)
    """[student's block, teacher's block] pairs, counted from 1, the last blocks last; by default each block of the
    student with the teacher's at the same share of the depth."""
    distance: Literal["mse", "cosine"] = "mse"
    """mse: squared differences, averaged over the teacher's width. cosine: 1 - cosine similarity."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"hidden_states"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset({"hidden_states"})

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    def build(self, context: TermContext) -> "nn.Module":
        """The projections. Raises OntogenyError for a teacher with other tokens, or layers that are not there."""
        from torch import nn

        from ontogeny.objectives.layers import blocks_of, require_same_tokens
        from ontogeny.objectives.projection import projection

        require_same_tokens(context, self.teacher, self.label, "hidden states")
        teacher = context.companions[self.teacher]
        pairs = blocks_of(self.layers, context.model.blocks, teacher.blocks, self.label)
        return nn.ModuleDict(
            {f"{ours}-{theirs}": projection(context.model.width, teacher.width) for ours, theirs in pairs}
        )

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over supervised tokens of the mean distance over pairs of layers."""
        import torch
        from torch.nn import functional as F

        from ontogeny.objectives.layers import predicting

        assert forward.module is not None
        positions = predicting(forward.supervised)
        theirs = forward.companions[self.teacher].hidden_states
        distances = []
        for pair, project in forward.module.named_children():
            ours_at, theirs_at = (int(layer) for layer in pair.split("-"))
            student = project(forward.hidden_states[ours_at].flatten(0, 1)[positions])
            teacher = theirs[theirs_at].flatten(0, 1)[positions].to(student.dtype)
            if self.distance == "mse":
                distances.append((student - teacher).square().mean(-1).sum())
            else:
                apart = F.normalize(student, dim=-1) - F.normalize(teacher, dim=-1)
                distances.append(apart.square().sum() / 2)
        return torch.stack(distances).mean(), "tokens"
