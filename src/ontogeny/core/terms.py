"""Loss terms: what each may read of a forward pass, and what it returns."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from pydantic import Field

from ontogeny.core.component import Component
from ontogeny.core.passages import Passage
from ontogeny.core.progress import Progress
from ontogeny.core.schedule import Schedule, Scheduled

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from ontogeny.core.cached_targets import CachedTargets, TargetRows
    from ontogeny.core.takes import Take

T = TypeVar("T")
Unit = Literal["tokens", "given_tokens", "bytes", "examples", "batch"]
"""tokens: supervised ones. given_tokens: of these, the ones that the model did not write itself, put in the place of
tokens for a term that reads no others. bytes: of text that these cover; a sum per byte compares between tokenizers."""
TermNeed = Literal["nll", "logits", "hidden_states", "attentions"]
Spelling = tuple[bytes | None, ...]
"""By token id: the bytes that it stands for; None for an id that stands for none."""


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
    def companions(self) -> "Mapping[str, CompanionPass]":
        """The forward pass of each companion over the same passages, without gradients.

        A companion with a tokenizer of its own reads the passages' text: its `input_ids` and `passages` are its own,
        and `objectives.alignment` pairs its positions with ours.
        """
        ...


class CompanionPass(ForwardPass, Protocol):
    """A companion's forward pass, which gives logits by the position, too: all of them never have to exist at once."""

    @property
    def vocabulary(self) -> int:
        """V, the ids that it has logits for."""
        ...

    def logits_at(self, positions: "Tensor") -> "Tensor":
        """[n, V]: logits at flat positions (row x T + column), int64 [n]. Without gradient."""
        ...

    @property
    def targets(self) -> "TargetRows | None":
        """What a cache holds of its distributions, in a step that reads them from there; else None."""
        ...

    @property
    def experts(self) -> "ExpertOutputs":
        """What each expert of the last mixture of experts makes of each position. Raises OntogenyError without one."""
        ...

    @property
    def token_bytes(self) -> "tuple[Spelling, Spelling]":
        """What the ids of the trained model's tokenizer and of its own spell."""
        ...


@dataclass(frozen=True, kw_only=True)
class ExpertOutputs:
    """What a mixture of E experts makes of each position, and how its router weighs them."""

    outputs: "Tensor"
    """[B, T, E, D]: of every expert, chosen by the router or not."""
    weights: "Tensor"
    """[B, T, E], adding up to 1: the router's, 0 for the experts that it does not choose."""


class Forward(ForwardPass, Protocol):
    """A forward pass as one loss term reads it: the same in training, evaluation, backfill and audit.

    Of `nll`, `logits`, `hidden_states` and `attentions` only what the term declares in `needs` is there; of `sides` and
    `companions`, only what it names. Reading anything else raises AttributeError with what to declare.
    """

    @property
    def progress(self) -> Progress:
        """Where training stands, for schedules of the term's own."""
        ...

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

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """What `compute` gives, computed once for the term's `value` and `tell` of this pass, by a name of the term's.

        It may have a graph of gradients.
        """
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

    def companion_forwards(self, batch: "dict[str, Tensor]") -> Mapping[str, CompanionPass]:
        """The companions' forward passes over a batch."""
        ...

    def train_loss(
        self, forward: ForwardPass, progress: Progress, units: Mapping[Unit, float]
    ) -> "tuple[Tensor, dict[str, Tensor]]":
        """A share of the step's objective, and of each unweighted term by label; of its details, too."""
        ...

    def weights(self, progress: Progress) -> dict[str, float]:
        """Weight of each term, by label."""
        ...

    def optimised(self, progress: Progress) -> "tuple[Term, ...]":
        """The terms that have a weight."""
        ...

    def value_of(self, term: "Term", forward: ForwardPass, progress: Progress) -> "tuple[Tensor, Unit]":
        """A term's sum over the batch, with its graph, and its unit."""
        ...

    def sums(self, forward: ForwardPass, progress: Progress) -> dict[str, tuple[float, float]]:
        """By label, or name of a detail: the sum over the batch, and the number of its units."""
        ...

    def combine(self, sums: Mapping[str, tuple[float, float]], progress: Progress) -> tuple[float, dict[str, float]]:
        """The objective, and each unweighted term and detail, from sums that were added up over batches."""
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
    experts: int = 0
    """Of its last mixture of experts; 0 without one."""


@dataclass(frozen=True, kw_only=True)
class TermContext:
    """What a term knows when it builds its trainable parts."""

    model: ModelShape
    companions: Mapping[str, ModelShape]
    own_tokens: Set[str]
    """Companions that read the text in tokens of their own, not in the model's."""
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
    added_later: ClassVar[frozenset[str]] = frozenset({"name"})
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
    def needed(self) -> frozenset[TermNeed]:
        """What it reads of the model's forward pass as it is configured; by default `needs`."""
        return self.needs

    @property
    def details(self) -> tuple[str, ...]:
        """Names of what `tell` tells."""
        return ()

    @property
    def reads_own_text(self) -> bool:
        """Are tokens that the model wrote itself targets? By default of a term that compares with a companion."""
        return bool(self.companions)

    @property
    def scale_changes(self) -> bool:
        """Does its value at the same predictions change over training, by a schedule other than its weight?"""
        return False

    @property
    def whole_batch(self) -> bool:
        """Does it compare the passages of a batch with one another? A step then has one micro-batch alone."""
        return False

    @property
    def is_plain_nll(self) -> bool:
        """Is its value the NLL of the supervised tokens, and nothing else?"""
        return False

    @property
    def reads(self) -> "Take | None":
        """Passages on which it examines the model that training starts from; None for none."""
        return None

    def cached_temperatures(self, targets: "CachedTargets") -> tuple[float, ...]:
        """The temperatures at which it reads a companion's `targets` from a cache.

        Raises ValueError, saying why, where it cannot; by default a term cannot.
        """
        raise ValueError(
            "reads more of its companion than a cache of next-token targets holds: leave the companion out of "
            "train.cached_targets"
        )

    def anchor(self, start: Start) -> "Mapping[str, Tensor]":
        """Named tensors that it needs to know of the start, computed once before training and kept in the run."""
        return {}

    def build(self, context: TermContext) -> "nn.Module | None":
        """Trainable parts of its own, registered with the optimizer and saved in checkpoints.

        Random draws come from torch's generator, which is seeded for this term. The parts are in training mode when
        the model is. Raises OntogenyError for companions or side inputs that the term cannot work with.
        """
        return None

    @abstractmethod
    def value(self, forward: Forward) -> "tuple[Tensor, Unit]":
        """A SUM over the batch, and its unit. `Objective` divides by the number of units in the whole step."""

    def tell(self, value: "Tensor", forward: Forward) -> "Mapping[str, Tensor]":
        """What is recorded besides the value, by the names in `details`: sums of the same unit.

        What it reads of the forward pass is shared with other terms, so gradients are on: it switches them off itself
        for what it computes of that.
        Of a detail d, training records the metric `<label>_<d>` and evaluation the variable of that name.
        """
        return {}

    def detail_names(self) -> dict[str, str]:
        """By detail: what it is called in metrics."""
        return {detail: f"{self.label}_{detail}" for detail in self.details}


def given(passages: Sequence[Passage], supervised: "Tensor") -> "Tensor":
    """`supervised`, bool [B, T], without the tokens that the trained model wrote itself."""
    if not any(passage.written for passage in passages):
        return supervised
    kept = supervised.clone()
    for row, passage in enumerate(passages):
        kept[row, len(passage) - passage.written :] = False
    return kept


def supervised_bytes(passages: Sequence[Passage]) -> float:
    """Bytes of text that supervised tokens cover; a passage's first token is none of them."""
    return float(sum(int((np.diff(p.byte_offsets)[1:] * p.supervised[1:]).sum()) for p in passages))


def require_pull(weight: Schedule) -> Schedule:
    """The weight of a penalty. Raises ValueError if it falls below 0, where it would push away from the start."""
    if weight.lowest < 0:
        raise ValueError(
            f"a weight of {weight.lowest:g} would push the weights away from their start: write 0 (no penalty) or more"
        )
    return weight
