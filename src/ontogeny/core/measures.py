"""Measures: what each may observe of one model state, and what it returns.

Arrays are numpy or torch as annotated; nothing here imports torch. "State s" is the model after s updates; checkpoint s
is state s on disk. At state s: measures look, their results are recorded, controls decide, interventions act; then the
step is taken.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from pydantic import Field

from ontogeny.core.component import Component
from ontogeny.core.live import LiveTraining
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.progress import Place, Progress
from ontogeny.core.schedule import Cadence
from ontogeny.core.terms import CompanionPass, TrainingObjective

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


Need = Literal["nll", "rank", "entropy", "top1", "logits", "hidden_states", "last_block", "attentions"]
"""What a measure may ask of a shared forward pass."""
PRECISION = "precision"
"""Attribute of what a measure saw: the dtype of the weights that it looked at, where it is not float32."""
ADDED_LATER = "added_later"
"""Attribute (1) of a variable that earlier versions of its measure did not record.

A run that such a version began goes on without it, since its arrays have no place for it.
"""


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
    bos: tuple[int, ...] = ()
    """Ids that stand before every text of the run: measures with prompts of their own put them there, too."""
    training: LiveTraining | None = None
    """The training itself, in a run of ours or opened again at a checkpoint of it; None anywhere else."""
    batch_tokens: int = 4096
    """Budget of padded tokens per forward batch. The batch plan of a probe set depends on it and on the set alone."""


class ForwardBatch(Protocol):
    """One forward pass over some passages of one probe set, shared by all looks. Right-padded.

    Shapes: B passages, T positions. `nll` (nats), `rank` (0 = the model's first choice; ties broken by id), `entropy`
    (nats) and `top1` (id of the first choice) are float32/int64 `[B, T]` and describe the *prediction of* the token at
    that position; position 0, what stands before the text (`Passage.bos_tokens`) and padding hold NaN, or -1. Only what
    some look needs is there; the rest raises.
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
    companions: "Mapping[str, CompanionPass]"
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
