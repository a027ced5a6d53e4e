"""Learn a teacher's next-token distribution."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ontogeny.core.component import refusal
from ontogeny.core.errors import OntogenyError
from ontogeny.core.names import Name
from ontogeny.core.schedule import Schedule, Scheduled
from ontogeny.core.terms import Forward, Term, TermContext, TermNeed, Unit
from ontogeny.objectives.divergence import Direction, Divergence

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ontogeny.objectives.tiled_divergence import TargetTile

FULL_UP_TO = 65_536
"""Ids up to which the full vocabulary is compared by default: it is cheaper than looking for the most probable ids."""
SAMPLED = 8
"""In training, `kl_at_1` is measured on every so many-th target token."""


class Kd(Term):
    """Divergence between the teachers' next-token distribution P and the student's Q, times temperature squared.

    P = softmax(teacher's logits / T), Q = softmax(logits / T), in nats: a sum over supervised tokens, the logits at
    position t - 1 predicting token t (Hinton et al. 2015, "Distilling the knowledge in a neural network"). The factor
    T^2 keeps the size of gradients while T changes. Several teachers are mixed: P = sum of weight x P_teacher. Teachers
    have the student's tokenizer; ids that one of the models lacks have probability 0 in both.

    Told besides, as metrics `<term>_untempered` (without T^2) and `<term>_kl_at_1`: KL(P || Q) at T = 1 over the full
    vocabulary, the only one of the three that compares over time where T changes; in training it is measured on every
    8th target token, in evaluation on all.
    """

    teachers: dict[Name, Annotated[float, Field(gt=0, le=1)]] = Field(default={"teacher": 1.0}, min_length=1)
    """Companions that teach, and the weight of each in the mixture; the weights add up to 1."""
    divergence: Direction = "forward"
    """forward: KL(P || Q). reverse: KL(Q || P). jensen_shannon: generalised, with `beta`."""
    beta: float | None = Field(default=None, gt=0, lt=1)
    """jensen_shannon only: the teachers' share of the mixture that both are compared with; by default 0.5."""
    temperature: Scheduled = Schedule(shape="linear", value=3.0, final=1 / 3)
    """T over training; by default it falls from 3 to 1."""
    compared: Literal["auto", "full", "top_k"] = "auto"
    """full: all ids. top_k: the teachers' most probable ids, and one bucket for all others. auto: full up to a
    vocabulary of 65,536."""
    top_k: int | None = Field(default=None, ge=1)
    """Number of ids that are compared one by one where not all are; by default 256."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset({"logits"})
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset()

    @field_validator("temperature")
    @classmethod
    def _warm(cls, temperature: Schedule) -> Schedule:
        if temperature.least <= 0:
            raise ValueError(
                "a temperature stays above 0 all through training: write value and final above 0, and no warmup"
            )
        return temperature

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        total = sum(self.teachers.values())
        if abs(total - 1) > 1e-6:
            raise refusal(f"the teachers' weights add up to {total:g}, not to 1", "teachers")
        if self.beta is not None and self.divergence != "jensen_shannon":
            raise refusal(f"'beta' means nothing to the {self.divergence} divergence, only to jensen_shannon", "beta")
        if self.top_k is not None and self.compared == "full":
            raise refusal("'top_k' means nothing where the full vocabulary is compared", "top_k")
        return self

    @property
    def companions(self) -> tuple[str, ...]:
        """The teachers."""
        return tuple(self.teachers)

    @property
    def details(self) -> tuple[str, ...]:
        """Two more scales of the same comparison."""
        return ("untempered", "kl_at_1")

    @property
    def scale_changes(self) -> bool:
        """Where the temperature changes."""
        return not self.temperature.is_constant

    def build(self, context: TermContext) -> "nn.Module | None":
        """Nothing is trained. Raises OntogenyError for a teacher with a tokenizer of its own."""
        for name in self.teachers:
            if name in context.own_tokens:
                raise OntogenyError(
                    f"the loss term '{self.label}' compares distributions over the same tokens, and the companion "
                    f"'{name}' has a tokenizer of its own: choose a teacher with the student's tokenizer"
                )
        return None

    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """Sum over supervised tokens of T^2 x divergence."""
        temperature = self._temperature(forward)
        divergence = Divergence(direction=self.divergence, beta=0.5 if self.beta is None else self.beta)
        return temperature**2 * self._summed(forward, divergence, temperature), "tokens"

    def tell(self, value: "Tensor", forward: Forward) -> "Mapping[str, Tensor]":
        """`untempered` and `kl_at_1`, sums over supervised tokens."""
        import torch

        step = SAMPLED if forward.model.training else 1
        with torch.no_grad():  # the logits are there: the value has read them
            at_1 = self._summed(forward, Divergence(direction="forward"), 1.0, every=step)
        return {"untempered": value / self._temperature(forward) ** 2, "kl_at_1": at_1}

    def _temperature(self, forward: Forward) -> float:
        return self.temperature.at(forward.progress.step, forward.progress.total_steps)

    def _summed(self, forward: Forward, divergence: Divergence, temperature: float, every: int = 0) -> "Tensor":
        """Sum over supervised tokens; of every n-th alone, times their number, with `every`: over all ids then."""
        from ontogeny.objectives.layers import predicting
        from ontogeny.objectives.tiled_divergence import summed

        logits = forward.logits.flatten(0, 1)
        positions = predicting(forward.supervised)
        sampled = positions[:: max(every, 1)]
        widths = [forward.companions[name].vocabulary for name in self.teachers]
        vocabulary = min(logits.shape[1], *widths)
        k = None if every else self._ids_compared(vocabulary)

        def targets(positions: "Tensor") -> "TargetTile":
            return self._target_at(forward, positions, temperature, vocabulary, k)

        total = summed(logits, sampled, targets, divergence, temperature=temperature, vocabulary=vocabulary)
        return total * (len(positions) / max(len(sampled), 1))

    def _ids_compared(self, vocabulary: int) -> int | None:
        """How many ids are compared one by one; None for all."""
        k = self.top_k or 256
        if self.compared == "full" or k >= vocabulary or (self.compared == "auto" and vocabulary <= FULL_UP_TO):
            return None
        return k

    def _target_at(
        self, forward: Forward, positions: "Tensor", temperature: float, vocabulary: int, k: int | None
    ) -> "TargetTile":
        """What the teachers say, mixed."""
        from math import log

        from ontogeny.objectives.tiled_divergence import TargetTile, tempered, top_k_of

        mixed: Tensor | None = None
        for name, weight in self.teachers.items():
            own = tempered(forward.companions[name].logits_at(positions), temperature, vocabulary)
            own = own if weight == 1 else own + log(weight)
            mixed = own if mixed is None else mixed.logaddexp(own)
        assert mixed is not None
        return TargetTile(log_p=mixed) if k is None else top_k_of(mixed, k)
