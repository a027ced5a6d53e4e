"""When measures look, what they get to see, and where it goes. The same live, in backfill and in foreign loops."""

import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError
from ontogeny.core.live import LiveTraining
from ontogeny.core.measures import PRECISION, Context, Observation, PassMeasure, StateMeasure
from ontogeny.core.passages import ProbeSet
from ontogeny.core.progress import Place, Progress
from ontogeny.looking.forward_passes import run_stream_looks
from ontogeny.looking.guard import untouched
from ontogeny.looking.weights_history import WeightsHistory
from ontogeny.models.weights import effective_weights
from ontogeny.objectives.compose import Objective
from ontogeny.store.writer import RunWriter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Measure = PassMeasure | StateMeasure


@dataclass(frozen=True, kw_only=True)
class LookEvent:
    """Measures have looked at a state."""

    step: int
    scalars: Mapping[tuple[str, str], float]
    """(scope, name) -> value, as in the metrics."""
    seconds: Mapping[str, float]
    """Wall-clock seconds by measure; what was shared stands under `forward`."""


class Observer:
    """Lets measures look at states and writes what they saw.

    `due` gives for each measure's group the states at which it looks; `history` the earlier states to compare with;
    `bos` the ids that stand before texts.
    """

    def __init__(
        self,
        *,
        writer: RunWriter,
        measures: Sequence[Measure],
        probes: Mapping[str, ProbeSet],
        tokenizer: "PreTrainedTokenizerFast",
        objective: Objective,
        seed: int,
        due: Mapping[str, frozenset[int]],
        history: WeightsHistory,
        bos: tuple[int, ...] = (),
    ) -> None:
        self.writer = writer
        self.measures = tuple(measures)
        self.probes = dict(probes)
        self.tokenizer = tokenizer
        self.objective = objective
        self.seed = seed
        self.due = dict(due)
        self.history = history
        self.bos = bos
        self.recorded: Container[tuple[int, str, str]] = frozenset()
        """(step, scope, name) of scalars that the metrics hold already: looking again does not double them."""

    def is_due(self, step: int) -> bool:
        """Does any measure look at that state?"""
        return any(step in states for states in self.due.values())

    def look(
        self, model: "PreTrainedModel", place: Place, progress: Progress, training: LiveTraining | None = None
    ) -> LookEvent:
        """Let the due measures look at the model, as it stands at `place`, and store what they saw.

        Parameters, gradients, mode, RNG and data order are afterwards exactly as before.
        """
        due = [measure for measure in self.measures if place.step in self.due.get(measure.group, ())]
        context = self.context(model, place, progress, training)
        seen, seconds = self._see(context, due)
        started = time.perf_counter()
        scalars: dict[tuple[str, str], float] = {}
        precision = str(next(model.parameters()).dtype).removeprefix("torch.")
        for measure in due:
            scalars |= self._store(measure, place, seen[measure.group], precision)
        seconds["store"] = time.perf_counter() - started
        for (scope, name), value in scalars.items():
            if (place.step, scope, name) not in self.recorded:
                self.writer.add_metric(place.step, name, scope, value)
        for name, value in seconds.items():
            self.writer.add_metric(place.step, f"measure/{name}", "timing", value)
        return LookEvent(step=place.step, scalars=scalars, seconds=seconds)

    def context(
        self, model: "PreTrainedModel", place: Place, progress: Progress, training: LiveTraining | None = None
    ) -> Context:
        """What measures and controls may look at."""
        return Context(
            model=model,
            tokenizer=self.tokenizer,
            place=place,
            progress=progress,
            probes=self.probes,
            objective=self.objective,
            seed=self.seed,
            weights=lambda: effective_weights(model),
            first_weights=self.history.first(place.step),
            previous_weights=self.history.before(place.step),
            bos=self.bos,
            training=training,
        )

    def _see(self, context: Context, due: Sequence[Measure]) -> tuple[dict[str, Observation], dict[str, float]]:
        streams = [m for m in due if isinstance(m, PassMeasure)]
        seen, seconds = run_stream_looks(context, streams)
        also = self.objective.modules.values()
        for measure in due:
            if isinstance(measure, StateMeasure):
                started = time.perf_counter()
                with untouched(context.model, parameters=measure.moves_weights, also=also):
                    seen[measure.group] = measure.look(context)
                seconds[measure.group] = time.perf_counter() - started
        return seen, seconds

    def _store(self, measure: Measure, place: Place, seen: Observation, precision: str) -> dict[tuple[str, str], float]:
        group = measure.group
        settings = measure.model_dump_json(exclude={"at", "name", *measure.unused})
        described = seen.arrays.assign_attrs(kind=type(measure).kind, settings=settings)
        if precision != "float32":
            described = described.assign_attrs({PRECISION: precision})
        self.writer.put_measure(group, place, described)
        if seen.samples:
            self.writer.add_samples(place.step, group, seen.samples)
        return scalars_of(group, seen)


def scalars_of(group: str, seen: Observation) -> dict[tuple[str, str], float]:
    """The metrics rows of what a measure saw: variables without axes (scope `model`), or over `probe` alone."""
    scalars: dict[tuple[str, str], float] = {}
    for name, variable in seen.arrays.data_vars.items():
        if variable.dtype.kind not in "fiub":
            continue
        if variable.dims == ():
            scalars["model", f"{group}/{name}"] = float(variable)
        elif variable.dims == ("probe",):
            for probe, value in zip(seen.arrays["probe"].values, variable.values, strict=True):
                scalars[str(probe), f"{group}/{name}"] = float(value)
    return scalars


def check_probes(measures: Sequence[Measure], probes: Mapping[str, ProbeSet]) -> None:
    """Raise StoreError if a measure asks for a probe set that is not there."""
    from ontogeny.core.errors import closest

    for measure in measures:
        for name in getattr(measure, "probes", None) or ():
            if name not in probes:
                raise StoreError(
                    f"measure '{measure.group}' looks at an unknown probe set '{name}': {closest(name, probes)}"
                )
