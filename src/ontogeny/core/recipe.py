"""The recipe: one experiment, strictly validated, nothing implied.

`recipe_hash` names the run directory; `train_hash` covers only what shapes the weights, and finds reusable runs.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ontogeny.core.component import Settings, refusal
from ontogeny.core.contracts import Corpus, ModelSource, Order, PassMeasure, StateMeasure, Term
from ontogeny.core.controls import Control
from ontogeny.core.errors import closest
from ontogeny.core.kinds import Room
from ontogeny.core.schedule import Cadence, Schedule, Scheduled

ORDERS = Room("ontogeny.data.orders")
TERMS = Room("ontogeny.objectives.terms")

AnyCorpus = Annotated[Corpus, Room("ontogeny.data.corpora")]
AnyOrder = Annotated[Order, ORDERS]
AnyModel = Annotated[ModelSource, Room("ontogeny.models.sources")]
AnyTerm = Annotated[Term, TERMS]
AnyControl = Annotated[Control, Room("ontogeny.controls")]
AnyMeasure = Annotated[PassMeasure | StateMeasure, Room("ontogeny.measures")]

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
_CORPUS_SPLIT = r"^[A-Za-z0-9][A-Za-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*$"
_RUN_NAME = r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$"
PATTERNS = {
    _NAME: "a name of letters, digits, - and _",
    _CORPUS_SPLIT: "corpus/split, for instance prose/train",
    _RUN_NAME: "a name of letters, digits, -, _, . and /",
}
"""What each pattern of a recipe means, for error messages."""

Name = Annotated[str, Field(pattern=_NAME)]
"""A name that may become a file's or an array's."""
Share = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Take(Settings):
    """Passages taken from one split of one corpus."""

    of: str = Field(pattern=_CORPUS_SPLIT)
    """corpus/split, for instance prose/train."""
    count: int | None = Field(default=None, ge=1)
    """How many passages, chosen at random by document; by default all. Too few are an error."""
    at_most: int | None = Field(default=None, ge=1)
    """Instead of count: as many as there are, up to this many."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.count is not None and self.at_most is not None:
            raise ValueError("say either count or at_most")
        return self


class Replay(Take):
    """Passages that are trained on again beside the new ones, so that they are not forgotten."""

    share: float = Field(gt=0, le=1)
    """Of each batch."""


class Twins(Settings):
    """The passages of a probe set in another form, to tell learning word for word from learning what is said."""

    of: Name
    """The probe set."""
    by: Literal["swapped", "reworded", "file"] = "swapped"
    """swapped: the same words, neighbours exchanged. reworded: by the corpus, where it was made by rules (facts, verse,
    equations). file: as a file has it."""
    share: float = Field(default=0.5, gt=0, le=1)
    """Of `swapped`: the share of pairs of words that change places."""
    path: str | None = None
    """Of `file`: JSON lines with `text`, a passage's own, and `twin`."""

    @model_validator(mode="after")
    def _file_named(self) -> Self:
        if (self.by == "file") != (self.path is not None):
            raise ValueError("by: file and path come together")
        return self


class TokenizerSettings(Settings):
    """Which tokenizer. By default the model's own; a model from scratch gets one trained on the corpora."""

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


class Data(Settings):
    """Texts: where they come from, how they are split and cut, what is trained on and what is looked at."""

    corpora: dict[Name, AnyCorpus] = Field(min_length=1)
    """Named corpora."""
    splits: dict[Name, Share] = Field(default={"train": 0.8, "novel": 0.2}, min_length=1)
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
    replay: dict[Name, Replay] = Field(default={})
    """Text that takes a share of every batch: {general: {of: prose/train, share: 0.25}}."""
    probes: dict[Name, Take] = Field(default={})
    """What is looked at: name and passages. Taking the same split and count as `train` gives the same passages."""
    twins: dict[Name, Twins] = Field(default={})
    """Probe sets that are others' passages in another form."""
    allow_overlap: bool = False
    """Accept splits that share text; the overlap is recorded either way."""

    @model_validator(mode="after")
    def _names_known(self) -> Self:
        total = sum(self.splits.values())
        if total > 1 + 1e-9:
            raise refusal(f"the shares add up to {total:g}, more than 1", "splits")
        if self.min_length > self.length:
            raise refusal(f"min_length {self.min_length} is more than length {self.length}", "min_length")
        for name, twins in self.twins.items():
            if twins.of not in self.probes:
                raise refusal(f"unknown probe set '{twins.of}': {closest(twins.of, self.probes)}", "twins", name, "of")
            if name in self.probes:
                raise refusal(f"a probe set is called '{name}', too: give the twins another name", "twins", name)
        for key, names in (("probes", self.probes), ("twins", self.twins)):
            for name in {"model", "timing"} & set(names):
                raise refusal(f"'{name}' is a scope of the metrics table: rename the probe set", key, name)
        takes: dict[tuple[str | int, ...], Take] = {("train", i): take for i, take in enumerate(self.train)}
        takes |= {("replay", name): take for name, take in self.replay.items()}
        replayed = sum(one.share for one in self.replay.values())
        if replayed > 1 + 1e-9:
            raise refusal(f"the shares add up to {replayed:g}, more than 1", "replay")
        if "new" in self.replay:
            raise refusal("'new' is what data.train takes: call the replay corpus otherwise", "replay", "new")
        takes |= {("probes", name): take for name, take in self.probes.items()}
        for location, take in takes.items():
            corpus, split = take.of.split("/")
            if corpus not in self.corpora:
                raise refusal(f"unknown corpus '{corpus}': {closest(corpus, self.corpora)}", *location, "of")
            if split not in self.splits:
                raise refusal(f"unknown split '{split}': {closest(split, self.splits)}", *location, "of")
        return self


class Optimizer(Settings):
    """AdamW."""

    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of the first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled; applied to matrices, not to biases and norms."""


class Lora(Settings):
    """Low-rank adapters through peft; everything else is frozen."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: tuple[str, ...] | None = None
    """Names of the adapted modules; by default all linear layers of the blocks."""


class Mixing(Settings):
    """How replayed text is mixed in."""

    counts: Literal["exact", "expected"] = "exact"
    """exact: after every step each corpus has its share, up to one example. expected: drawn anew for every batch."""
    by: Literal["examples", "tokens"] = "examples"
    """What shares are shares of."""
    budget: Literal["compute", "new"] = "compute"
    """What epochs and tokens count. compute: training is as long as it would be without replay, and sees less new text.
    new: it sees as much new text, and is longer."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.counts == "expected" and self.by == "tokens":
            raise ValueError("expected shares are of examples: write counts: exact to mix by tokens")
        return self


class Train(Settings):
    """How long, with what step."""

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
    order: AnyOrder = Field(default_factory=lambda: ORDERS.make("shuffled"))
    """Which passage stands where; by default shuffled anew in every epoch."""
    mixing: Mixing = Mixing()
    """How data.replay is mixed in."""
    repeats: int = Field(default=1, ge=1)
    """How often each batch is trained on in a row; an epoch has as many more steps."""
    lr: Scheduled = Field(default=Schedule(value=1e-3))
    """Learning rate."""
    layer_slope: tuple[NonNegative, NonNegative] | None = None
    """Learning-rate multipliers of the first and the last block, linear in between.

    Embeddings get the first, the head the last.
    """
    optimizer: Optimizer = Optimizer()
    """Settings of AdamW."""
    clip: float | None = Field(default=1.0, gt=0)
    """Global gradient norm is clipped to this; null means never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast; weights and optimizer stay in float32."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the model; by default as its configuration says."""
    controls: tuple[AnyControl, ...] = ()
    """What decides learning rate and stopping on the way, instead of the schedule."""
    lora: Lora | None = None
    """Train low-rank adapters instead of the weights."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [self.steps, self.epochs, self.tokens].count(None) != 2:
            raise ValueError("say exactly one of steps, epochs, tokens")
        if self.lr.lowest < 0:
            raise refusal(f"a learning rate is at least 0, found {self.lr.lowest:g}", "lr")
        if self.batch % self.accumulate:
            raise refusal(f"batch {self.batch} cannot be cut into {self.accumulate} equal micro-batches", "accumulate")
        return self


class Recipe(Settings):
    """One experiment."""

    name: str = Field(pattern=_RUN_NAME)
    """Names the run directory, together with the hash."""
    about: str = ""
    """What it is for, in a sentence or two."""
    data: Data
    """Texts: what is trained on and what is looked at."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    """By default the model's own, or one trained on the corpora for a model from scratch."""
    model: AnyModel
    """Where the model comes from."""
    objective: tuple[AnyTerm, ...] = Field(default_factory=lambda: (TERMS.make("next_token"),), min_length=1)
    """The terms of the loss; their weighted sum is minimised. By default next_token alone."""
    train: Train | None = None
    """How it is trained; without it, the recipe only looks at the model as it is."""
    checkpoints: Cadence = Cadence(every_epochs=1)
    """When to save and, unless a measure says otherwise, to look."""
    measures: tuple[AnyMeasure, ...] = ()
    """What to look at on the way."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.train is None) != (not self.data.train):
            raise ValueError("train and data.train come together: say both, or neither to only look at the model")
        named = {"measures": [m.group for m in self.measures], "objective": [t.name for t in self.objective]}
        for key, names in named.items():
            for i, name in enumerate(names):
                if name in names[:i]:
                    raise refusal(f"a second one is called '{name}': give one of them a name of its own", key, i)
        for i, measure in enumerate(self.measures):
            if looks_at_probes(measure) and not self.data.probes:
                message = f"'{measure.group}' looks at probe sets, and there is none: name passages in data.probes"
                raise refusal(message, "measures", i)
            for j, probe in enumerate(getattr(measure, "probes", None) or ()):
                self._require_probe(probe, "measures", i, "probes", j)
            for key in measure.probe_keys:
                self._require_probe(getattr(measure, key), "measures", i, key)
        for i, control in enumerate(self.train.controls if self.train else ()):
            for key in control.probe_keys:
                self._require_probe(getattr(control, key), "train", "controls", i, key)
        for i, corpus in enumerate(self.tokenizer.corpora or ()):
            if corpus not in self.data.corpora:
                message = f"unknown corpus '{corpus}': {closest(corpus, self.data.corpora)}"
                raise refusal(message, "tokenizer", "corpora", i)
        return self

    def _require_probe(self, name: str | None, *location: str | int) -> None:
        known = (*self.data.probes, *self.data.twins)
        if name is not None and name not in known:
            raise refusal(f"unknown probe set '{name}': {closest(name, known)}", *location)

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


def looks_at_probes(measure: PassMeasure | StateMeasure) -> bool:
    """Does it look at probe sets, rather than at the weights alone?"""
    return "probes" in type(measure).model_fields


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
