"""Loss terms: what each may read of a forward pass, and what it returns."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from pydantic import Field

from ontogeny.core.component import Component
from ontogeny.core.passages import Passage
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule, Scheduled

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from ontogeny.core.takes import Take

Unit = Literal["tokens", "examples", "batch"]
TermNeed = Literal["nll", "logits", "hidden_states", "attentions"]


class ForwardPass(Protocol):
    """One forward pass of one model over a batch of B passages, T positions, padded on the right."""

    @property
    def model(self) -> "PreTrainedModel":
        """The model as it is called: in training, wrapped for autocast and distribution."""
        ...

    @property
    def passages(self) -> Sequence[Passage]:
        """The B passages of the batch."""
        ...

    @property
    def input_ids(self) -> "Tensor":
        """int64 [B, T]."""
        ...

    @property
    def attention_mask(self) -> "Tensor":
        """int64 [B, T]: 1 for tokens, 0 for padding."""
        ...

    @property
    def supervised(self) -> "Tensor":
        """bool [B, T]: tokens that count as targets; never position 0, never padding."""
        ...

    @property
    def nll(self) -> "Tensor":
        """[B, T], nats: of each token given those before it. A term reads 0 where `supervised` is false."""
        ...

    @property
    def logits(self) -> "Tensor":
        """[B, T, V]: position t predicts token t + 1."""
        ...

    @property
    def hidden_states(self) -> "tuple[Tensor, ...]":
        """Embeddings, then the output of each block, the last one after the final norm: [B, T, D] each."""
        ...

    @property
    def attentions(self) -> "tuple[Tensor, ...]":
        """Attention probabilities of each block: [B, heads, T, T] each."""
        ...

    @property
    def sides(self) -> "Mapping[str, Tensor]":
        """Side inputs by name: float32 [B, n, d], padded with zeros to the largest n of the batch."""
        ...

    @property
    def companions(self) -> "Mapping[str, ForwardPass]":
        """The forward pass of each companion over the same passages, without gradients.

        A companion with a tokenizer of its own reads the passages' text: its `input_ids` and `passages` are its own,
        and `objectives.alignment` pairs its positions with ours.
        """
        ...


class Forward(ForwardPass, Protocol):
    """A forward pass as one loss term reads it: the same in training, evaluation, backfill and audit.

    Of `nll`, `logits`, `hidden_states` and `attentions` only what the term declares in `needs` is there; of `sides` and
    `companions`, only what it names. Reading anything else raises AttributeError with what to declare.
    """

    @property
    def parameters(self) -> "Mapping[str, Tensor]":
        """The model's parameters by name, with gradients."""
        ...

    @property
    def module(self) -> "nn.Module | None":
        """What the term built; None if it built nothing."""
        ...

    @property
    def anchor(self) -> "Mapping[str, Tensor]":
        """What the term kept of the model that training started from; empty if it keeps nothing."""
        ...


class TrainingObjective(Protocol):
    """The scheduled sum of a recipe's terms, as measures use it: `objectives.compose.Objective`."""

    terms: "tuple[Term, ...]"
    modules: "dict[str, nn.Module]"
    """Trainable parts that terms built, by label."""

    @property
    def needs(self) -> Set[TermNeed]:
        """What the terms read of the model's forward pass."""
        ...

    def forward(self, model: "PreTrainedModel", batch: "dict[str, Tensor]") -> ForwardPass:
        """A forward pass over a collated batch, run when something is first read of it."""
        ...

    def companion_forwards(self, batch: "dict[str, Tensor]") -> Mapping[str, ForwardPass]:
        """The companions' forward passes over a batch."""
        ...

    def train_loss(
        self, forward: ForwardPass, progress: Progress, units: Mapping[Unit, float]
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """A share of the step's objective, and of each unweighted term by label."""
        ...

    def sums(self, forward: ForwardPass) -> dict[str, tuple[float, float]]:
        """By label: a term's sum over the batch, and the number of its units."""
        ...

    def combine(self, sums: Mapping[str, tuple[float, float]], progress: Progress) -> tuple[float, dict[str, float]]:
        """The objective and each unweighted term, from sums that were added up over batches."""
        ...


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The sizes of a model that a term may build for."""

    width: int
    """Of the hidden states."""
    blocks: int
    heads: int
    """Of attention; 0 of a model without it."""
    vocabulary: int


@dataclass(frozen=True, kw_only=True)
class TermContext:
    """What a term knows when it builds its trainable parts."""

    model: ModelShape
    companions: Mapping[str, ModelShape]
    sides: Mapping[str, int]
    """Width d of each side input that the passages carry."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Start:
    """The model that training starts from, as a term may examine it once, before the first step."""

    model: "PreTrainedModel"
    """In evaluation mode."""
    passages: Sequence[Passage]
    """Those of `Term.reads`; none without."""
    seed: int
    earlier: "Mapping[str, Tensor]" = field(default_factory=dict)
    """The anchor that the term of the same label kept in the run that the model comes from; empty if there was none."""


class Term(Component):
    """One loss term; a penalty on the weights is a term that has an anchor."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """What it is called in metrics; by default its kind. Two terms of one kind need one."""
    weight: Scheduled = Schedule(value=1.0)
    """Weight in the objective, over training."""

    needs: ClassVar[frozenset[TermNeed]] = frozenset()
    """What it reads of the model's forward pass."""
    companion_needs: ClassVar[frozenset[TermNeed]] = frozenset({"logits"})
    """What it reads of its companions' forward passes."""
    anchored: ClassVar[bool] = False
    """Does it keep an anchor? It then needs a training that starts, and all weights trained: no LoRA."""

    @property
    def label(self) -> str:
        """What it is called in metrics; differs between the terms of one objective."""
        return self.name or type(self).kind

    @property
    def companions(self) -> tuple[str, ...]:
        """Names of the recipe's companions that it reads."""
        return ()

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the side inputs that it reads."""
        return ()

    @property
    def reads(self) -> "Take | None":
        """Passages on which it examines the model that training starts from; None for none."""
        return None

    def anchor(self, start: Start) -> "Mapping[str, Tensor]":
        """Named tensors that it needs to know of the start, computed once before training and kept in the run."""
        return {}

    def build(self, context: TermContext) -> "nn.Module | None":
        """Trainable parts of its own, registered with the optimizer and saved in checkpoints.

        Random draws come from torch's generator, which is seeded for this term. The parts are in training mode when
        the model is.
        """
        return None

    @abstractmethod
    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """A SUM over the batch, and its unit. `Objective` divides by the number of units in the whole step."""


def require_pull(weight: Schedule) -> Schedule:
    """The weight of a penalty. Raises ValueError if it falls below 0, where it would push away from the start."""
    if weight.lowest < 0:
        raise ValueError(
            f"a weight of {weight.lowest:g} would push the weights away from their start: write 0 (no penalty) or more"
        )
    return weight
