"""The recipe: one experiment, strictly validated, nothing implied.

`recipe_hash` names the run directory; `train_hash` covers only what shapes the weights, and finds reusable runs.
"""

import hashlib
import json
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ontogeny.core.cached_targets import TargetForm, form_of
from ontogeny.core.component import Settings, leave_out_unused, refusal
from ontogeny.core.controls import Control
from ontogeny.core.errors import closest
from ontogeny.core.measures import PassMeasure, StateMeasure
from ontogeny.core.names import RUN_NAME, Name
from ontogeny.core.recipe_data import Data, TokenizerSettings
from ontogeny.core.recipe_kinds import OPTIMIZERS, TERMS, WEIGHTINGS, AnyMeasure, AnyModel, AnyTerm, AnyWeighting
from ontogeny.core.recipe_train import Train
from ontogeny.core.schedule import Cadence
from ontogeny.core.windows import check_windows, windows_of

_FIXED = "fixed"


class Recipe(Settings):
    """One experiment."""

    added_later: ClassVar[frozenset[str]] = frozenset({"companions", "weighting"})

    extends: str | None = Field(default=None, exclude=True)
    """Another recipe, by its shipped name or by a path relative to this file, over which this file's keys are laid."""
    name: str = Field(pattern=RUN_NAME)
    """Names the run directory, together with the hash."""
    about: str = ""
    """What it is for, in a sentence or two."""
    data: Data
    """Texts: what is trained on and what is looked at."""
    tokenizer: TokenizerSettings = TokenizerSettings()
    """By default the model's own, or one trained on the corpora for a model from scratch."""
    model: AnyModel
    """Where the model comes from."""
    companions: dict[Name, AnyModel] = Field(default={})
    """Frozen models that loss terms read beside the trained one, by name: {teacher: {kind: from_run, recipe: …}}."""
    objective: tuple[AnyTerm, ...] = Field(default_factory=lambda: (TERMS.make("next_token"),), min_length=1)
    """The terms of the loss; their weighted sum is minimised. By default next_token alone."""
    weighting: AnyWeighting = Field(default_factory=lambda: WEIGHTINGS.make(_FIXED))
    """How terms are weighed against one another, beyond their weights; by default fixed: by these alone."""
    train: Train | None = None
    """How it is trained; without it, the recipe only looks at the model as it is."""
    checkpoints: Cadence = Cadence(every_epochs=1)
    """When to save and, unless a measure says otherwise, to look."""
    measures: tuple[AnyMeasure, ...] = ()
    """What to look at on the way."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.extends is not None:  # reading a file takes the key out: a recipe holds the whole content
            raise refusal("a recipe is extended by a file: write  extends: NAME  there", "extends")
        if (self.train is None) != (not self.data.train):
            raise ValueError("train and data.train come together: say both, or neither to only look at the model")
        self._check_controls()
        check_windows(self.data, self.train)
        named = {"measures": [m.group for m in self.measures], "objective": [t.label for t in self.objective]}
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
        self._check_terms()
        self._check_judge()
        self._check_weighting()
        self._check_on_policy()
        self._check_cached_targets()
        for i, corpus in enumerate(self.tokenizer.corpora or ()):
            if corpus not in self.data.corpora:
                message = f"unknown corpus '{corpus}': {closest(corpus, self.data.corpora)}"
                raise refusal(message, "tokenizer", "corpora", i)
        return self

    def _check_controls(self) -> None:
        for i, control in enumerate(self._controls):
            for key in control.probe_keys:
                self._require_probe(getattr(control, key), "train", "controls", i, key)
            control.check(self, "train", "controls", i)

    @property
    def _controls(self) -> tuple[Control, ...]:
        return self.train.controls if self.train else ()

    def _require_probe(self, name: str | None, *location: str | int) -> None:
        known = (*self.data.probes, *self.data.twins)
        if name is not None and name not in known:
            raise refusal(f"unknown probe set '{name}': {closest(name, known)}", *location)

    def _check_terms(self) -> None:
        for i, term in enumerate(self.objective):
            for name in term.companions:
                if name not in self.companions:
                    known = (
                        closest(name, self.companions) if self.companions else "there is none: name it in companions"
                    )
                    raise refusal(f"'{term.label}' reads an unknown companion '{name}': {known}", "objective", i)
            if term.whole_batch and self.train is not None and self.train.accumulate > 1:
                message = (
                    f"'{term.label}' compares the passages of a batch with one another, and train.accumulate "
                    f"{self.train.accumulate} cuts the batch into pieces: leave accumulate out"
                )
                raise refusal(message, "objective", i)
            if term.reads is not None:
                self.data.require(term.reads, "objective", i, "text")
            if not term.anchored:
                continue
            if self.train is None:
                raise refusal(f"'{term.label}' remembers where training starts, and none starts", "objective", i)
            if self.train.lora is not None:
                message = f"the loss term '{term.label}' (objective.{term.label}) holds the weights, which train.lora "
                raise refusal(f"{message}freezes: leave out one of the two", "objective", i)
        read = {name for term in self.objective for name in term.companions} | {self._judge}
        for name in self.companions:
            if name not in read:
                raise refusal(
                    f"no loss term reads the companion '{name}': leave it out, or name it there", "companions", name
                )

    @property
    def _judge(self) -> str | None:
        """The companion by whose loss examples are put in order."""
        return self.train.order.judge if self.train else None

    def _check_weighting(self) -> None:
        kind = self.weighting.kind
        if kind == _FIXED:
            return
        if self.train is None or len(self.objective) < 2:
            lacks = "there is no training" if self.train is None else "the objective has one term"
            raise refusal(f"{kind} weighs terms against one another while they train, and {lacks}", "weighting")
        self.weighting.check(self, "weighting")

    def _check_on_policy(self) -> None:
        if self.train is None or self.train.on_policy is None:
            return
        if not any(term.reads_own_text for term in self.objective):
            message = "no loss term learns from what the student writes: name one that compares with a companion, as kd"
            raise refusal(message, "train", "on_policy")
        if self.train.on_policy.prompt >= self.longest:
            message = (
                f"a prompt of {self.train.on_policy.prompt} tokens leaves nothing to write of passages of at most "
            )
            raise refusal(f"{message}{self.longest}: write less", "train", "on_policy", "prompt")

    def _check_cached_targets(self) -> None:
        for name, targets in self.train.cached_targets.items() if self.train else ():
            where = ("train", "cached_targets", name)
            if name not in self.companions:
                known = closest(name, self.companions) if self.companions else "there is none: name it in companions"
                raise refusal(f"an unknown companion '{name}': {known}", *where)
            readers = [i for i, term in enumerate(self.objective) if name in term.companions]
            if not readers:
                raise refusal(f"no loss term reads the companion '{name}': leave it out here", *where)
            if self.train is not None and self.train.on_policy is not None:
                message = "a cache holds targets of the data's text, not of what the student writes: leave out one of "
                raise refusal(f"{message}train.on_policy and train.cached_targets", *where)
            for i in readers:
                try:
                    self.objective[i].cached_temperatures(targets)
                except ValueError as error:
                    message = f"targets of '{name}' are cached (train.cached_targets), and '{self.objective[i].label}'"
                    raise refusal(f"{message} {error}", "objective", i) from None
            try:
                self.target_form(name)
            except ValueError as error:
                raise refusal(str(error), *where) from None

    def target_form(self, companion: str, vocabulary: int = 1) -> TargetForm:
        """What train.cached_targets keeps of a companion's distributions over so many ids.

        Raises ValueError for a temperature that it leaves out, and for too many bytes.
        """
        assert self.train is not None
        targets = self.train.cached_targets[companion]
        readers = [term for term in self.objective if companion in term.companions]
        needed = [temperature for term in readers for temperature in term.cached_temperatures(targets)]
        return form_of(targets, needed, vocabulary)

    def _check_judge(self) -> None:
        if self._judge is not None and self._judge not in self.companions:
            known = closest(self._judge, self.companions) if self.companions else "there is none: name it in companions"
            raise refusal(f"difficulty is judged by an unknown companion '{self._judge}': {known}", "train", "order")

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence: a passage's, or a window's."""
        rolling = (windows_of(take, self.train) for take in self.data.train)
        return max([self.data.length, *(windows.length for windows in rolling if windows)])

    def as_json(self) -> dict[str, Any]:
        """The whole recipe, defaults written out but for keys that came later, as plain JSON values."""
        content = self.model_dump(mode="json")
        leave_out_unused(self, content)
        return content

    def _content(self) -> dict[str, Any]:
        """What hashes cover: parents by what they are, not by how they are named."""
        content = {**self.as_json(), "model": self.model.identity()}
        if self.companions:
            content["companions"] = {name: source.identity() for name, source in self.companions.items()}
        if self.train is not None and self.train.optimizer.kind == OPTIMIZERS.default_kind:
            del content["train"]["optimizer"]["kind"]
        return content

    @property
    def recipe_hash(self) -> str:
        """SHA-256 over everything, 12 hex digits."""
        return _digest(self._content())

    @property
    def train_hash(self) -> str:
        """SHA-256 over what shapes the weights, 12 hex digits.

        Name, description, cadences, measures (a measure looks without touching) and probe sets do not, those apart that
        controls decide by.
        """
        content = self._content()
        for key in ("name", "about", "measures", "checkpoints"):
            del content[key]
        del content["data"]["allow_overlap"]
        decisive = {getattr(control, key) for control in self._controls for key in control.probe_keys}
        content["data"]["probes"] = {name: take for name, take in content["data"]["probes"].items() if name in decisive}
        if not content["data"]["probes"]:
            del content["data"]["probes"]
        return _digest(content)


def looks_at_probes(measure: PassMeasure | StateMeasure) -> bool:
    """Does it look at probe sets, rather than at the weights alone?"""
    return "probes" in type(measure).model_fields


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
