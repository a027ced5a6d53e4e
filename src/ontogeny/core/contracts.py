"""The contracts between the rooms. Arrays are numpy or torch as annotated; nothing here imports torch.

Order at step s: look, record, let controls decide and interventions act, take the step. "State s" is the model after
s updates; checkpoint s is state s on disk.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, get_args

import numpy as np
from pydantic import Field

from ontogeny.core.component import Component
from ontogeny.core.live import LiveTraining
from ontogeny.core.origin import Origin
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.progress import Place, Progress
from ontogeny.core.schedule import Cadence
from ontogeny.core.terms import ForwardPass, TrainingObjective

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Need = Literal["nll", "rank", "entropy", "top1", "logits", "hidden_states", "last_block", "attentions"]
"""What a measure may ask of a shared forward pass."""


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class StepEvent:
    """One optimizer step: the update that led from state `step` to state `step + 1`."""

    step: int
    progress: Progress
    loss: float
    """The composed objective on the step's batch, before the update (nats per unit)."""
    terms: Mapping[str, float]
    """Each term, unweighted, by name."""
    learning_rate: float
    grad_norm: float
    """Global L2 norm of the gradient before clipping."""
    tokens: int
    """Tokens in the step's batch, padding excluded."""
    supervised_tokens: int
    """Tokens that counted as targets in the step's batch."""
    tokens_seen: int
    """Tokens after the step."""
    example_ids: tuple[int, ...]
    seconds: float
    """Wall-clock time of the step, data included, what consumers do with the event excluded."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a measure saw at one state.

    `arrays`: every variable carries attrs `units` and `long_name`; axes are those of `store.schema.AXES` (or bring a
    coordinate of their own). Variables without axes, or over `probe` alone, also become metrics rows.
    `samples`: rows of `store.schema.SAMPLES` without the step.
    """

    arrays: "xr.Dataset"
    samples: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a measure may look at. The same live, in backfill and in somebody else's loop."""

    model: "PreTrainedModel"
    """A Hugging Face causal language model on its device (a PeftModel when LoRA is on)."""
    tokenizer: "PreTrainedTokenizerFast"
    place: Place
    progress: Progress
    probes: Mapping[str, ProbeSet]
    objective: TrainingObjective
    seed: int
    weights: "Callable[[], Mapping[str, Tensor]]"
    """Effective weights of this state by name (LoRA merged), detached, on CPU."""
    first_weights: "Callable[[], Mapping[str, Tensor]] | None" = None
    """Effective weights of the first saved checkpoint, seen from a later state; None at the first state itself."""
    previous_weights: "Callable[[], Mapping[str, Tensor]] | None" = None
    """Effective weights of the last saved checkpoint before this state; None if there is none."""
    training: LiveTraining | None = None
    """The training itself, in a run of ours or opened again at a checkpoint of it; None anywhere else."""
    batch_tokens: int = 4096
    """Budget of padded tokens per forward batch. The batch plan of a probe set depends on it and on the set alone."""


class ForwardBatch(Protocol):
    """One forward pass over some passages of one probe set, shared by all looks. Right-padded.

    Shapes: B passages, T positions. `nll` (nats), `rank` (0 = the model's first choice; ties broken by id), `entropy`
    (nats) and `top1` (id of the first choice) are float32/int64 `[B, T]` and describe the *prediction of* the token at
    that position; position 0 and padding hold NaN, or -1. Only what some look needs is there; the rest raises.
    """

    probe: str
    rows: np.ndarray
    """int64 [B]: which passages of the set."""
    model: "PreTrainedModel"
    """For loss terms that run it otherwise."""
    passages: Sequence[Passage]
    input_ids: "Tensor"
    attention_mask: "Tensor"
    supervised: "Tensor"
    """bool [B, T]: targets that the training loss would count (never position 0, never padding)."""
    sides: "Mapping[str, Tensor]"
    """Side inputs by name: float32 [B, n, d]."""
    companions: "Mapping[str, ForwardPass]"
    """The forward passes of the companions that loss terms read."""
    nll: "Tensor"
    rank: "Tensor"
    entropy: "Tensor"
    top1: "Tensor"
    logits: "Tensor"
    hidden_states: "tuple[Tensor, ...]"
    """Embeddings, then the output of each block [B, T, D]; for most models the last one has passed the final norm."""
    last_block: "Tensor"
    """The last block's output before the final norm [B, T, D]."""
    attentions: "tuple[Tensor, ...]"


class Look(Protocol):
    """A measure in the act of looking at one state."""

    def see(self, batch: ForwardBatch) -> None:
        """Take from one forward batch what is needed; its tensors are gone afterwards."""
        ...

    def result(self) -> Observation:
        """What was seen, once all batches of the looked-at probe sets have passed."""
        ...


class _Measure(Component):
    at: Cadence | None = None
    """When to look; by default at every checkpoint."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    """Name of the group in the store; by default the kind. Two of one kind need one."""

    cost: ClassVar[str] = ""
    """What it costs, in one sentence: shown by `--plan`."""
    compares_weights: ClassVar[bool] = False
    """Does it read `Context.first_weights` or `previous_weights`? Foreign loops then keep copies."""

    probe_keys: ClassVar[tuple[str, ...]] = ()
    """Settings besides `probes` that name a probe set."""
    live: ClassVar[bool] = False
    """Does it need `Context.training`? Then it looks only at runs that were trained here."""

    @property
    def group(self) -> str:
        """Name of its group in the store."""
        return self.name or type(self).kind


class PassMeasure(_Measure):
    """A measure fed by forward passes. It sees, and never touches, the model."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def needed(self, context: Context) -> frozenset[Need]:
        """What it needs as it is configured, of this training; by default `needs`."""
        return self.needs

    def wants(self, probe: str) -> bool:
        """Does it look at that probe set?"""
        return False

    def own_sets(self, context: Context) -> Mapping[str, ProbeSet]:
        """Passages of its own, by a name that no probe set has, that it looks at besides."""
        return {}

    def derived(self, probe: ProbeSet) -> ProbeSet | None:
        """Passages of the measure's own, made from a probe set (tasks); None to look at the set itself."""
        return None

    @abstractmethod
    def look(self, context: Context) -> Look:
        """Begin to look at one state."""


class StreamMeasure(PassMeasure):
    """A measure of probe sets, fed by forward passes that it shares with others."""

    probes: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Which probe sets to look at; by default all."""

    def wants(self, probe: str) -> bool:
        """As `probes` says."""
        return self.probes is None or probe in self.probes


class BatchMeasure(PassMeasure):
    """A measure of what is trained on: it is also shown batches that it samples, just before and after their step.

    The mean NLL per supervised token in evaluation mode becomes the metrics `<group>_before` and `_after` of the step.
    """

    only_new: bool = False
    """Of each batch its new text alone, without what is replayed beside it."""

    live: ClassVar[bool] = True

    @abstractmethod
    def samples(self, batch: int) -> bool:
        """Is a batch, counted without repeats, among those that it wants to see? A pure function."""


class StateMeasure(_Measure):
    """A measure that owns the model, inside a guard which restores gradients, mode and RNG; parameters, if it asks."""

    moves_weights: ClassVar[bool] = False
    """Does it change parameters while it looks? The guard then keeps a copy of them, and puts it back."""

    @abstractmethod
    def look(self, context: Context) -> Observation:
        """Look at one state, with the model in hand."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """One document of a corpus, before tokenization.

    `completion_spans`: half-open character ranges of `text` that the loss counts; None means all of it.
    `messages`: a chat; `text` is then empty and rendered with the tokenizer's chat template.
    `sides`: side inputs of every passage that is cut from it, float32 `[n, d]` by name.
    """

    text: str
    source: str
    completion_spans: tuple[tuple[int, int], ...] | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    sides: Mapping[str, np.ndarray] = field(default_factory=dict)


class Corpus(Component):
    """A source of documents. Reading is deterministic: same files, same documents in the same order."""

    @abstractmethod
    def documents(self) -> Iterable[Document]:
        """All documents, in a fixed order."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What an order may know of the examples that it puts in order."""

    lengths: np.ndarray
    """int64 [n]: tokens."""
    nll: np.ndarray | None = None
    """float64 [n]: mean NLL per token before training, in nats; there where `Order.needs_nll`."""

    def __len__(self) -> int:
        return len(self.lengths)


class Order(Component):
    """Which example stands in which slot of which step: a pure function of step and seed."""

    needs_nll: ClassVar[bool] = False
    """Does it read `Examples.nll`? The model is then run over all examples before training."""

    @abstractmethod
    def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
        """The examples of epoch `number` in order: a permutation of int64 indices below their number."""


class LoadContext(Protocol):
    """What a model source needs to know: `models.build.LoadContext`."""

    @property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """What the texts are encoded with."""
        ...

    @property
    def length(self) -> int:
        """Longest sequence of the recipe, in tokens."""
        ...

    @property
    def seed(self) -> int:
        """Of random weights."""
        ...

    @property
    def dropout(self) -> float | None:
        """None: as the model's configuration says."""
        ...

    @property
    def origin(self) -> Origin | None:
        """Where the model exists already, as its source found it."""
        ...

    def load_pretrained(self, origin: Origin) -> "PreTrainedModel":
        """Load an existing model in float32, a LoRA adapter merged into it."""
        ...


class ModelSource(Component):
    """Where the model comes from."""

    @classmethod
    def register(cls) -> None:
        """Let transformers' Auto classes load what it builds. Nothing to do for architectures that transformers has."""

    def identity(self) -> dict[str, Any]:
        """What of it goes into a recipe's hash."""
        return self.model_dump(mode="json")

    def origin(self, resolve_run: Callable[[Any], T]) -> Origin | T | None:
        """Where it exists already; None if it is made from scratch. `resolve_run` finds an earlier run of ours."""
        return None

    @abstractmethod
    def load(self, context: LoadContext) -> "PreTrainedModel":
        """Build or load it: a Hugging Face causal language model on CPU, float32."""


Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""The most severe first: findings are listed in this order."""
Certainty = Literal["certain", "likely", "possible"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Points of one series that a finding rests on: where they stand in the log, and their values."""

    scope: str
    name: str
    label: str
    """What the log calls the series."""
    rows: tuple[int, ...]
    """Places in the file, counted as `History.row_word` says."""
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule found something."""

    rule: str
    severity: Severity
    statement: str
    """One sentence, with the numbers that matter."""
    numbers: Mapping[str, float | int | str]
    """The statistic and what it was computed from, by name; units in the names."""
    threshold: str
    certainty: Certainty
    """`certain`: follows from the numbers; `likely`: other explanations are rare; `possible`: look before you act."""
    otherwise: str
    """What else could explain it."""
    refuted_by: str
    """What would show it to be wrong."""
    remedy: str
    evidence: tuple[Evidence, ...]
    segment: int = 0
    """Index of the segment in which it was found: the last one, where a run was resumed."""

    verdict: ClassVar[str] = "finding"


@dataclass(frozen=True, kw_only=True)
class Clear:
    """A rule had what it needs and found nothing."""

    rule: str
    numbers: Mapping[str, float | int | str]
    segment: int = 0

    verdict: ClassVar[str] = "clear"


@dataclass(frozen=True, kw_only=True)
class NotAssessable:
    """A rule could not judge."""

    rule: str
    lacks: str
    """What it would need: completes the sentence `not assessable: lacks …`."""
    segment: int = 0

    verdict: ClassVar[str] = "not assessable"


Verdict = Finding | Clear | NotAssessable
