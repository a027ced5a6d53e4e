"""The recipe: one experiment, strictly validated, nothing implied.

`recipe_hash` names the run directory; `train_hash` covers only what shapes the weights, and finds reusable runs.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ontogeny.core.component import Component
from ontogeny.core.contracts import Corpus, ModelSource, Order, Term
from ontogeny.core.kinds import Room
from ontogeny.core.schedule import Cadence, Schedule, Scheduled

_STRICT = ConfigDict(
    frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=()
)

AnyCorpus = Annotated[Corpus, Room("ontogeny.data.corpora")]
AnyOrder = Annotated[Order, Room("ontogeny.data.orders")]
AnyModel = Annotated[ModelSource, Room("ontogeny.models.sources")]
AnyTerm = Annotated[Term, Room("ontogeny.objectives.terms")]
AnyMeasure = Annotated[Component, Room("ontogeny.measures")]

Share = Annotated[float, Field(gt=0, le=1)]


class Take(BaseModel):
    """Passages taken from one split of one corpus."""

    model_config = _STRICT

    of: str = Field(pattern=r"^[\w-]+/[\w-]+$")
    """corpus/split, for instance prose/train."""
    count: int | None = Field(default=None, ge=1)
    """How many passages, chosen at random by document; by default all."""


class TokenizerSettings(BaseModel):
    """Which tokenizer. By default the model's own; a model from scratch gets one trained on the corpora."""

    model_config = _STRICT

    path: str | None = None
    """A local directory or hub id to load from."""
    vocab_size: int | None = Field(default=None, ge=258)
    """Train a byte-level BPE of this size instead."""
    corpora: tuple[str, ...] | None = None
    """Corpora to train it on (their training splits); by default all."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.path is not None and self.vocab_size is not None:
            raise ValueError("say either path (load it) or vocab_size (train it), not both")
        return self


class Data(BaseModel):
    """Texts: where they come from, how they are split and cut, what is trained on and what is looked at."""

    model_config = _STRICT

    corpora: dict[str, AnyCorpus] = Field(min_length=1)
    """Named corpora."""
    splits: dict[str, Share] = Field(default={"train": 0.8, "novel": 0.2}, min_length=1)
    """Split by document: name and share."""
    split_seed: int = 0
    """Decides which document falls into which split, and which passages are taken."""
    length: int = Field(default=128, ge=2)
    """Tokens per passage."""
    min_length: int = Field(default=16, ge=2)
    """Shorter remainders of a document are dropped."""
    boundary: Literal["document", "stream"] = "document"
    """document: a passage never crosses a document's end. stream: documents are joined with the end-of-text token."""
    train: tuple[Take, ...] = ()
    """What is trained on; nothing where a recipe only looks."""
    probes: dict[str, Take] = {}
    """What is looked at: name and passages. Taking the same split and count as `train` gives the same passages."""
    allow_overlap: bool = False
    """Accept splits that share text; the overlap is recorded either way."""

    @model_validator(mode="after")
    def _names_known(self) -> Self:
        from ontogeny.core.errors import closest

        if sum(self.splits.values()) > 1 + 1e-9:
            raise ValueError(f"the shares of splits add up to {sum(self.splits.values()):g}, more than 1")
        for take in (*self.train, *self.probes.values()):
            corpus, split = take.of.split("/")
            if corpus not in self.corpora:
                raise ValueError(f"'{take.of}' names an unknown corpus '{corpus}': {closest(corpus, self.corpora)}")
            if split not in self.splits:
                raise ValueError(f"'{take.of}' names an unknown split '{split}': {closest(split, self.splits)}")
        return self


class Optimizer(BaseModel):
    """AdamW."""

    model_config = _STRICT

    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled; applied to matrices, not to biases and norms."""


class Lora(BaseModel):
    """Low-rank adapters through peft; everything else is frozen."""

    model_config = _STRICT

    rank: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; by default all linear layers of the blocks."""


class Train(BaseModel):
    """How long, with what step."""

    model_config = _STRICT

    seed: int = 0
    """Initial weights, order and dropout are drawn from it."""
    steps: int | None = Field(default=None, ge=1)
    """Length in optimizer steps. Say exactly one of steps, epochs, tokens."""
    epochs: float | None = Field(default=None, gt=0)
    """Length in epochs."""
    tokens: int | None = Field(default=None, ge=1)
    """Length in tokens; the last step is the one that reaches it."""
    batch: int = Field(default=8, ge=1)
    """Passages per optimizer step, over all micro-batches and processes."""
    accumulate: int = Field(default=1, ge=1)
    """Micro-batches per optimizer step."""
    order: AnyOrder = Field(default_factory=lambda: Room("ontogeny.data.orders")._validate("shuffled"))
    """Which passage stands where."""
    lr: Scheduled = Field(default=Schedule(value=1e-3))
    """Learning rate."""
    layer_slope: tuple[float, float] | None = None
    """Learning-rate multipliers of the first and the last block, linear in between; embeddings get the first, the head the last."""
    optimizer: Optimizer = Optimizer()
    """Settings of AdamW."""
    clip: float | None = Field(default=1.0, gt=0)
    """Global gradient norm is clipped to this; null means never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast; weights and optimizer stay in float32."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the model; by default as its configuration says."""
    lora: Lora | None = None
    """Train low-rank adapters instead of the weights."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [self.steps, self.epochs, self.tokens].count(None) != 2:
            raise ValueError("say exactly one of steps, epochs, tokens")
        if self.batch % self.accumulate:
            raise ValueError(f"batch {self.batch} is not divisible by accumulate {self.accumulate}")
        return self


class Recipe(BaseModel):
    """One experiment."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[\w][\w./-]*$")
    """Names the run directory, together with the hash."""
    about: str = ""
    """What it is for, in a sentence or two."""
    data: Data
    tokenizer: TokenizerSettings = TokenizerSettings()
    model: AnyModel
    """Where the model comes from."""
    objective: tuple[AnyTerm, ...] = Field(
        default_factory=lambda: (Room("ontogeny.objectives.terms")._validate("next_token"),), min_length=1
    )
    """The terms of the loss; their weighted sum is minimised."""
    train: Train | None = None
    """How it is trained; without it, the recipe only looks at the model as it is."""
    checkpoints: Cadence = Cadence(every_epochs=1)
    """When to save and, unless a measure says otherwise, to look."""
    measures: tuple[AnyMeasure, ...] = ()
    """What to look at on the way."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        from ontogeny.core.errors import closest

        if (self.train is None) != (not self.data.train):
            raise ValueError("train and data.train come together: say both, or neither to only look at the model")
        groups = [measure.group for measure in self.measures]  # type: ignore[attr-defined]
        twice = sorted({group for group in groups if groups.count(group) > 1})
        if twice:
            raise ValueError(f"two measures are called '{twice[0]}': give one of them a name")
        for measure in self.measures:
            for probe in getattr(measure, "probes", None) or ():
                if probe not in self.data.probes:
                    raise ValueError(f"measure '{measure.kind}' looks at an unknown probe set '{probe}': "
                                     f"{closest(probe, self.data.probes)}")
        return self

    def as_json(self) -> dict[str, Any]:
        """The whole recipe, defaults written out, as plain JSON values."""
        return self.model_dump(mode="json")

    def _content(self) -> dict[str, Any]:
        return {**self.as_json(), "model": self.model.identity()}

    @property
    def recipe_hash(self) -> str:
        """SHA-256 over everything, 12 hex digits."""
        return _digest(self._content())

    @property
    def train_hash(self) -> str:
        """SHA-256 over what shapes the weights, 12 hex digits.

        Name, description, probe sets, cadences and measures do not (a measure looks without touching).
        """
        content = self._content()
        for key in ("name", "about", "measures", "checkpoints"):
            del content[key]
        for key in ("probes", "allow_overlap"):
            del content["data"][key]
        return _digest(content)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
