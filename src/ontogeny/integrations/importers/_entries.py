"""Entries that are JSON objects: which key is the step, the epoch, the time, and what is a number."""

from collections.abc import Iterator, Mapping

import numpy as np
from pydantic import JsonValue

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._numbers import MOST, number_of

STEP_KEYS = (
    "step",
    "global_step",
    "current_steps",
    "train/global_step",
    "trainer/global_step",
    "iter",
    "iteration",
    "_step",
    "steps",
    "update",
    "num_updates",
    "batch",
    "iter_num",
)
_STEPS = frozenset(STEP_KEYS)
EPOCH_KEYS = ("epoch", "train/epoch", "Epoch", "epochs")
TIME_KEYS = ("timestamp", "_timestamp", "time_unix_s", "wall_time")
_DEEPEST = 3


def flat(entry: Mapping[str, JsonValue], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, JsonValue]]:
    """Keys and values, those of nested objects under joined keys: ``{"eval": {"loss": 1}}`` gives ``eval/loss``."""
    for key, value in entry.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                yield from flat(value, f"{name}/", depth + 1)
        else:
            yield name, value


def add_evaluation_rate(values: Mapping[str, float], builder: Builder) -> None:
    """Record the runtime and the rate of an evaluation as Trainer logs them; they are no metrics."""
    if "eval_runtime" in values:
        builder.config.setdefault("eval_runtime_s", []).append(values["eval_runtime"])
    if "eval_samples_per_second" in values:
        builder.config.setdefault("eval_examples_per_second", []).append(values["eval_samples_per_second"])


def step_key_of(values: Mapping[str, object], builder: Builder) -> str | None:
    """The key that is the step; None if there is none."""
    return builder.step_label or next((key for key in STEP_KEYS if key in values), None)


def add_columns(rows: range, columns: Mapping[str, np.ndarray], builder: Builder) -> None:
    """Add entries that have the same keys at once: what `add_entry` would add of each, as columns."""
    values = dict(columns)
    step_key = step_key_of(values, builder)
    steps = values.pop(step_key, None) if step_key is not None else None
    if steps is None or not ((steps >= 0) & (steps < MOST)).all():
        for i, row in enumerate(rows):
            add_entry(row, {key: float(numbers[i]) for key, numbers in columns.items()}, builder)
        return
    epochs = next((values.pop(key) for key in EPOCH_KEYS if key in values), None)
    times = next((values.pop(key) for key in TIME_KEYS if key in values), None)
    for key in _STEPS & values.keys():
        del values[key]
    if values:
        builder.add_steps(rows, steps, values, epochs=epochs, times_unix_s=times)


def add_entry(row: int, entry: Mapping[str, JsonValue], builder: Builder, *, step: float | None = None) -> bool:
    """Add one entry. Keys with null count as absent. Returns whether it has a number that could be a metric."""
    values: dict[str, float] = {}
    nested = any(isinstance(value, dict) for value in entry.values())
    for key, raw in flat(entry) if nested else entry.items():
        value = raw if type(raw) is float else number_of(raw)
        if value is not None:
            values[key] = value
    step_key = step_key_of(values, builder)
    if step is None and step_key is not None:
        step = values.pop(step_key, None)
    epoch = next((values.pop(key) for key in EPOCH_KEYS if key in values), None)
    time = next((values.pop(key) for key in TIME_KEYS if key in values), None)
    for key in _STEPS & values.keys():
        del values[key]
    if values:
        builder.add(row, values, step=step, epoch=epoch, time_unix_s=time)
    return bool(values)
