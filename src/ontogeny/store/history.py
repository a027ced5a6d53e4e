"""A training log in one form, whatever its format: series in segments, each number with its row in the file.

Every importer returns a `History`, and diagnosis reads it. Its numbers are also available as rows of the store's
metrics table. Nothing in it was smoothed, interpolated or repaired.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal, TypedDict

import numpy as np
import pyarrow as pa

from ontogeny.store.schema import METRICS

TRAIN = "train"
EVAL = "eval"
"""Scope of the evaluation set of a log that has one; others carry the set's own name."""

Axis = Literal["step", "epoch", "entry"]
Beginning = Literal["first", "resume", "restart", "writer"]


class LogConfig(TypedDict, total=False):
    """What a log says of its run's configuration. Every key is optional."""

    learning_rate: Annotated[float, "peak learning rate as configured"]
    schedule: Annotated[str, "learning-rate schedule by its name: linear, cosine, constant, constant_with_warmup, …"]
    warmup_steps: Annotated[int, "optimizer steps of warm-up"]
    max_steps: Annotated[int, "optimizer steps that were planned"]
    epochs: Annotated[float, "epochs that were planned"]
    last_step: Annotated[int, "the step at which the run says it stands (trainer_state's global_step)"]
    accumulation: Annotated[int, "micro-batches per optimizer step"]
    batch_size: Annotated[int, "examples per device and micro-batch"]
    devices: Annotated[int, "processes or devices"]
    vocabulary_size: Annotated[int, "entries of the vocabulary"]
    logging_steps: Annotated[int, "optimizer steps between two log entries"]
    eval_steps: Annotated[int, "optimizer steps between two evaluations"]
    label_smoothing: Annotated[float, "label smoothing of the training loss"]
    max_grad_norm: Annotated[float, "gradient clipping threshold"]
    weight_decay: Annotated[float, "weight decay"]
    fp16: Annotated[bool, "true if trained with a loss scaler"]
    peft: Annotated[str, "kind of adapter: lora, prefix, prompt, …"]
    model: Annotated[str, "name or path of the model"]
    pretrained: Annotated[bool, "true if an existing model is fine-tuned"]
    from_scratch: Annotated[bool, "true if the model begins at random weights"]
    best_metric: Annotated[float, "value that the run holds for its best"]
    best_metric_name: Annotated[str, "which metric decides what is best"]
    best_step: Annotated[int, "step of the best checkpoint, as the run says"]
    load_best: Annotated[bool, "true if the best checkpoint is loaded at the end"]
    patience: Annotated[int, "evaluations of early stopping"]
    train_examples: Annotated[int, "examples in the training set"]
    eval_examples: Annotated[int, "examples in the evaluation set"]
    eval_runtime_s: Annotated[list[float], "seconds of each evaluation, as a list"]
    eval_examples_per_second: Annotated[list[float], "rate of each evaluation, as a list"]
    final_train_loss: Annotated[float, "the trainer's mean training loss over the whole run"]
    term_weights: Annotated[
        list[tuple[int, dict[str, float]]],
        "weights of the terms of a composite loss as printed: list of (step, {term: weight})",
    ]
    reported_perplexity: Annotated[bool, "true if perplexities come from the log and not from us"]
    interrupted: Annotated[bool, "true if the log says itself that it was cut"]
    errors: Annotated[list[tuple[int, str]], "error messages in the log: list of (row, text)"]
    optimizer: Annotated[str, "optimizer by its name: adamw, sgd, adafactor, …"]
    clip_key: str
    """What the run's own configuration calls `max_grad_norm`, where it is called otherwise; not shown to users."""
    objective: str
    """Kind of training by its name in `diagnosis.objective`, where the log states it; not shown to users."""


CONFIG: dict[str, str] = {
    key: hint.__metadata__[0] for key, hint in LogConfig.__annotations__.items() if hasattr(hint, "__metadata__")
}
"""What each key of a configuration means, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """One scalar over time within one segment, sorted by step, each step once. All arrays have the same length."""

    name: str
    """The quantity, by our name for it: `loss`, `learning_rate`, `grad_norm`, `perplexity`, `accuracy`, `reward`, …"""
    scope: str
    """`train`, `eval`, or the name of one of several evaluation sets."""
    label: str
    """The name that the log uses."""
    steps: np.ndarray
    """int64, counted in the unit that `Segment.axis` names."""
    values: np.ndarray
    """float64; NaN and infinities as they were logged."""
    rows: np.ndarray
    """int64: position of each value in the file, counted from 1 in the unit that `History.row_word` names."""
    epochs: np.ndarray
    """float64; NaN where the log has none."""
    times_unix_s: np.ndarray
    """float64; NaN where the log has none."""
    unit: str = ""
    """`nats`, `bits` (per byte or character), … if the log or the name says so; else empty."""
    decimals: int | None = None
    """Decimals to which the log rounds; None for full precision."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def finite(self) -> np.ndarray:
        """bool: which values are finite."""
        return np.isfinite(self.values)

    @property
    def step_size(self) -> float:
        """Half a unit of the last printed decimal: the largest possible rounding error of a value. 0 if exact."""
        return 0.0 if self.decimals is None else 0.5 * 10.0**-self.decimals

    def clean(self) -> "Series":
        """The finite values alone."""
        return self if bool(self.finite.all()) else self.where(self.finite)

    def where(self, chosen: np.ndarray) -> "Series":
        """The values at a boolean mask or at indices."""
        return self._with(*(array[chosen] for array in self._arrays))

    def joined(self, later: "Series") -> "Series":
        """This series followed by a later one, such as that of a run followed by its resumption."""
        pairs = zip(self._arrays, later._arrays, strict=True)
        both = self._with(*(np.concatenate(pair) for pair in pairs))
        exact = self.decimals is None or later.decimals is None
        decimals = None if exact else max(self.decimals or 0, later.decimals or 0)
        return Series(**{**both.__dict__, "decimals": decimals})

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.steps, self.values, self.rows, self.epochs, self.times_unix_s

    def _with(
        self, steps: np.ndarray, values: np.ndarray, rows: np.ndarray, epochs: np.ndarray, times: np.ndarray
    ) -> "Series":
        return Series(
            name=self.name,
            scope=self.scope,
            label=self.label,
            steps=steps,
            values=values,
            rows=rows,
            epochs=epochs,
            times_unix_s=times,
            unit=self.unit,
            decimals=self.decimals,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """A stretch of a log in which no step is repeated: one writer, one run, without a resumption inside."""

    index: int
    series: tuple[Series, ...]
    axis: Axis = "step"
    """What `Series.steps` count: optimizer steps as logged, whole epochs, or entries where the log has neither."""
    beginning: Beginning = "first"
    reason: str = ""
    """Why it begins here, in words; empty for the first segment."""

    def get(self, name: str, scope: str = TRAIN) -> Series | None:
        """The series of that name and scope; None if the log has none."""
        return self._by_key.get((scope, name))

    def scopes(self, name: str) -> list[Series]:
        """Series of that name in all scopes but `train`, in the order of the log."""
        return [series for series in self.series if series.name == name and series.scope != TRAIN]

    @cached_property
    def _by_key(self) -> dict[tuple[str, str], Series]:
        return {(series.scope, series.name): series for series in self.series}

    def __iter__(self) -> Iterator[Series]:
        return iter(self.series)


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """Everything that was read from one log."""

    path: str
    form: str
    """The format, in words: `Hugging Face trainer_state.json`."""
    segments: tuple[Segment, ...]
    """Empty if the log holds no training curve; `nothing` then says why."""
    row_word: str = "line"
    """What `Series.rows` count: `line`, `entry`, `row`."""
    config: LogConfig = field(default_factory=LogConfig)
    """What the log says of its own configuration."""
    notes: tuple[str, ...] = ()
    """What a reader must know: a truncated tail, dropped duplicates, entries that could not be parsed."""
    partial: bool = False
    """Part of the file could not be read; `notes` says which."""
    nothing: str = ""
    """Why this is not a training curve (a table of runs, a summary, an empty history); empty if it is one."""

    @property
    def metrics(self) -> pa.Table:
        """All values as rows of `schema.METRICS`, segment by segment; unknown times are NaN."""
        every = [series for segment in self.segments for series in segment]
        counts = [len(series) for series in every]

        def text(values: Sequence[str]) -> pa.Array:
            words = sorted(set(values))
            codes = np.repeat([words.index(value) for value in values], counts).astype(np.int32)
            return pa.DictionaryArray.from_arrays(codes, pa.array(words, pa.string()))

        if not every:
            return METRICS.empty_table()
        columns = [
            np.concatenate([series.steps for series in every]),
            np.concatenate([series.times_unix_s for series in every]),
            text([series.name for series in every]),
            text([series.scope for series in every]),
            np.concatenate([series.values for series in every]),
        ]
        return pa.table([pa.array(column) for column in columns], schema=METRICS)

    @property
    def entries(self) -> int:
        """Number of values in all series."""
        return sum(len(series) for segment in self.segments for series in segment)
