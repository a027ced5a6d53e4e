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

    from ontogeny.core.cached_targets import CachedTargets, TargetRows
    from ontogeny.objectives.tiled_divergence import Taught

FULL_UP_TO = 65_536
"""Ids up to which the full vocabulary is compared by default: it is cheaper than looking for the most probable ids."""
TOP_K = 256
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
    8th target token, in evaluation on all. A step that reads the teacher's targets from a cache (train.cached_targets)
    does not tell it, since there are not all ids.
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

    def cached_temperatures(self, targets: "CachedTargets") -> tuple[float, ...]:
        """As `Term` says: those of its schedule. The cache must hold what is compared without one."""
        if len(self.teachers) > 1:
            raise ValueError("mixes several teachers, and a cache holds one: name one teacher, or cache none of them")
        if targets.top_k is not None and (self.compared, self.top_k or TOP_K) != ("top_k", targets.top_k):
            compares = f"the {self.top_k or TOP_K} most probable ids" if self.compared == "top_k" else "all ids"
            raise ValueError(
                f"compares {compares}: write compared: top_k, top_k: {targets.top_k}, which is what the cache holds"
            )
        if targets.samples is not None:
            if self.compared != "full":
                raise ValueError("has to say what random samples estimate: write compared: full")
            if self.divergence != "forward":
                raise ValueError(
                    f"takes the {self.divergence} divergence, of which random samples are no unbiased estimate: write "
                    "divergence: forward, or cache top_k"
                )
        temperatures = self.temperature.values
        if temperatures is None:
            raise ValueError(
                "takes another temperature at every step, and a cache holds a few: write a constant temperature, or "
                "one with stairs, as {shape: piecewise, points: [[0, 3.0], [1, 1.0]], stairs: 11}"
            )
        return temperatures

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
        return self._temperature(forward) ** 2 * self._sums(forward)[0], "tokens"

    def tell(self, value: "Tensor", forward: Forward) -> "Mapping[str, Tensor]":
        """`untempered` and `kl_at_1`, sums over supervised tokens; the latter not from a cache."""
        told = {"untempered": value / self._temperature(forward) ** 2}
        if self._cached(forward) is None:
            told["kl_at_1"] = self._sums(forward)[1]
        return told

    def _cached(self, forward: Forward) -> "TargetRows | None":
        """The targets of its teacher, where they come from a cache."""
        return forward.companions[self.companions[0]].targets

    def _temperature(self, forward: Forward) -> float:
        return self.temperature.at(forward.progress.step, forward.progress.total_steps)

    def _sums(self, forward: Forward) -> "tuple[Tensor, Tensor]":
        """Sums over supervised tokens of the divergence and of `kl_at_1`, from one pass over the logits."""
        return forward.once("sums", lambda: self._compared(forward))

    def _compared(self, forward: Forward) -> "tuple[Tensor, Tensor]":
        from ontogeny.objectives.cached_targets import taught_by
        from ontogeny.objectives.layers import predicting
        from ontogeny.objectives.tiled_divergence import DivergenceSettings, Mixture, compared

        logits = forward.logits.flatten(0, 1)
        teachers = [forward.companions[name] for name in self.teachers]
        cached = self._cached(forward)
        vocabulary = min(logits.shape[1], *(teacher.vocabulary for teacher in teachers))
        comparison = DivergenceSettings(
            divergence=Divergence(direction=self.divergence, beta=0.5 if self.beta is None else self.beta),
            temperature=self._temperature(forward),
            top_k=self._ids_compared(vocabulary),
            vocabulary=vocabulary,
            every=None if cached is not None else SAMPLED if forward.model.training else 1,
        )

        def teaching(positions: "Tensor") -> "Taught":
            if cached is not None:
                return taught_by(cached, positions)
            return Mixture(
                logits=tuple(teacher.logits_at(positions) for teacher in teachers),
                weights=tuple(self.teachers.values()),
                vocabulary=vocabulary,
            )

        return compared(logits, predicting(forward.supervised), teaching, comparison)

    def _ids_compared(self, vocabulary: int) -> int | None:
        """How many ids are compared one by one; None for all."""
        k = self.top_k or TOP_K
        if self.compared == "full" or k >= vocabulary or (self.compared == "auto" and vocabulary <= FULL_UP_TO):
            return None
        return k
