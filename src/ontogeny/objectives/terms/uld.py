"""Learn the shape of a teacher's distribution, whatever its tokens are."""

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from ontogeny.core.names import Name
from ontogeny.core.terms import Forward, Term, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor


class Uld(Term):
    """Distance between the sorted next-token probabilities of teacher and student: universal logit distillation.

    At every place where both have read the same bytes, sum_i |p_(i) - q_(i)| with both distributions sorted from the
    most probable token down, the shorter one filled up with zeros (Boizard et al. 2024, "Towards cross-tokenizer
    distillation: the universal logit distillation loss", arXiv 2402.12030, eq. 5; places are paired by byte offsets,
    not by number). It compares how sure the models are, not of what. Per byte of supervised text; 0 where the student
    is the teacher.
    """

    teacher: Name = "teacher"
    """The companion that teaches; it may have a tokenizer of its own."""
    temperature: float = Field(default=1.0, gt=0)
    """Both distributions are softmax(logits / temperature)."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"logits"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset()

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over places; the unit is a byte of supervised text."""
        import torch
        from torch.nn import functional as F

        from ontogeny.objectives.chunks import edges_of, flat_positions, wide
        from ontogeny.objectives.tiled_divergence import TILE

        teacher = forward.companions[self.teacher]
        edges = edges_of(forward.passages, teacher.passages)
        places = edges.goes_on.nonzero()[0]
        ours = flat_positions(edges.row, edges.ours - 1, forward.input_ids)[places]
        theirs = flat_positions(edges.row, edges.theirs - 1, teacher.input_ids)[places]
        logits = forward.logits.flatten(0, 1)
        size = max(logits.shape[1], teacher.vocabulary)
        distances = [logits.new_zeros((), dtype=torch.promote_types(logits.dtype, torch.float32))]
        tile = max(TILE // size, 1)
        for our_tile, their_tile in zip(ours.split(tile), theirs.split(tile), strict=True):
            pair = [
                F.pad(
                    (wide(rows) / self.temperature).softmax(-1).sort(descending=True).values, (0, size - rows.shape[1])
                )
                for rows in (logits[our_tile], teacher.logits_at(their_tile))
            ]
            distances.append((pair[0] - pair[1]).abs().sum())
        return torch.stack(distances).sum(), "bytes"
