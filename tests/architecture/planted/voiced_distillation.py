"""A term that needs everything a term can need: logits, a companion, a side input and a part that it trains."""

from typing import TYPE_CHECKING, ClassVar

from ontogeny.core.terms import Forward, Term, TermContext, TermNeed, Unit

if TYPE_CHECKING:
    from torch import Tensor, nn


class VoicedDistillation(Term):
    """KL(teacher || student) of the next token at supervised positions, plus (w . voice)^2 of each passage."""

    teacher: str = "teacher"
    """The companion."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"logits"})

    @property
    def companions(self) -> tuple[str, ...]:
        """The teacher."""
        return (self.teacher,)

    @property
    def sides(self) -> tuple[str, ...]:
        """What the corpus brings."""
        return ("voice",)

    def build(self, context: TermContext) -> "nn.Module":
        """A projection of the voice."""
        from torch import nn

        return nn.Linear(context.sides["voice"], 1, bias=False)

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """A sum over supervised tokens; the voice's part is spread over them."""
        import torch

        targets = forward.supervised[:, 1:]
        student = forward.logits[:, :-1].float().log_softmax(-1)[targets]
        teacher = forward.companions[self.teacher].logits[:, :-1].float().log_softmax(-1)[targets]
        assert forward.module is not None
        voiced = forward.module(forward.sides["voice"]).square().sum()
        divergence = (teacher.exp() * (teacher - student)).sum()
        return divergence + voiced * torch.count_nonzero(targets) / len(targets), "tokens"
