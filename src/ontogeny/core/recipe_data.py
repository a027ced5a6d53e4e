"""The part of a recipe that says which texts: where they come from, what is trained on and what is looked at."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ontogeny.core.component import Settings, refusal
from ontogeny.core.errors import closest
from ontogeny.core.names import Name, Share
from ontogeny.core.recipe_kinds import AnyCorpus
from ontogeny.core.takes import Take


class NewText(Take):
    """Passages, or windows that roll over the split's text: all its documents, joined by the end-of-text token."""

    window: int | None = Field(default=None, ge=2)
    """Tokens per window. With train.mixing.percentage_window it follows from there."""
    step: int | str | None = None
    """From one window's first token to the next one's: tokens, or "25%" of the window. count and at_most then take the
    first windows, so that they still roll."""

    @model_validator(mode="after")
    def _rolls_on(self) -> Self:
        if self.window is not None and self.step is None:
            raise refusal("a window rolls on: say step, in tokens or as '25%' of the window", "window")
        if isinstance(self.step, str) and not re.fullmatch(r"\d+(\.\d+)?%", self.step):
            raise refusal(f"expected a number of tokens, or per cent as '25%', found '{self.step}'", "step")
        return self


class Replay(Take):
    """Passages that are trained on again beside the new ones, so that they are not forgotten."""

    share: float = Field(ge=0, le=1)
    """Of each batch; 1 is pure replay, 0 none. With mixing.percentage_window: of what the window leaves."""


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
    bos: bool | None = None
    """Does the BOS token (beginning of sequence) stand before every passage and prompt? By default as the model was
    trained: as its tokenizer adds it for a pretrained model, as in its own run for a model from a run, not for one from
    scratch. It counts in `length`."""
    boundary: Literal["document", "stream"] = "document"
    """document: a passage never crosses a document's end. stream: documents are joined with the end-of-text token."""
    train: tuple[NewText, ...] = ()
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
            each = " + ".join(f"{name} {share:g}" for name, share in self.splits.items())
            raise refusal(f"the shares add up to {total:g}, more than 1: {each}; lower data.splits.NAME", "splits")
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
        replayed = sum(replay.share for replay in self.replay.values())
        if replayed > 1 + 1e-9:
            each = ", ".join(f"data.replay.{name}.share={replay.share:g}" for name, replay in self.replay.items())
            raise refusal(f"the shares add up to {replayed:g}, more than 1: lower one of {each}", "replay")
        if "new" in self.replay:
            raise refusal("'new' is what data.train takes: call the replay corpus otherwise", "replay", "new")
        takes |= {("probes", name): take for name, take in self.probes.items()}
        for location, take in takes.items():
            self.require(take, *location)
        trained = [take.model_dump() for take in (*self.train, *self.replay.values())]
        for name, probe in self.probes.items():
            if is_trained(probe.model_dump(), trained) is None:
                message = "this part is trained on in part: take one inside of what is trained on, or outside of it"
                raise refusal(message, "probes", name, "part")
        return self

    def require(self, take: Take, *location: str | int) -> None:
        """Refuse a take, which stands at `location`, of a corpus or split that there is not."""
        corpus, split = take.of.split("/")
        if corpus not in self.corpora:
            raise refusal(f"unknown corpus '{corpus}': {closest(corpus, self.corpora)}", *location, "of")
        if split not in self.splits:
            raise refusal(f"unknown split '{split}': {closest(split, self.splits)}", *location, "of")


def is_trained(take: Mapping[str, Any], trained: Iterable[Mapping[str, Any]]) -> bool | None:
    """Are a probe set's passages taken from what is trained on? None: some are. Both as a recipe has them."""
    partly = False
    for training in trained:
        if training.get("of") != take.get("of"):
            continue
        if take.get("part") is None:
            return True
        (first, last), (begin, end) = take["part"], training.get("part") or (0.0, 1.0)
        if begin <= first and last <= end:
            return True
        partly |= first < end and begin < last
    return None if partly else False
