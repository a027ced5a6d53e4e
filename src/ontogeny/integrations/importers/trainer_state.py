"""Hugging Face `trainer_state.json`: the history that `Trainer` saves with each checkpoint."""

from collections.abc import Mapping

from pydantic import JsonValue

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._entries import add_evaluation_rate
from ontogeny.integrations.importers._numbers import number_of
from ontogeny.integrations.importers._source import Source

FORM = "Hugging Face trainer_state.json"

_CONFIG = {
    "max_steps": "max_steps",
    "global_step": "last_step",
    "logging_steps": "logging_steps",
    "eval_steps": "eval_steps",
    "train_batch_size": "batch_size",
    "num_train_epochs": "epochs",
    "best_metric": "best_metric",
    "best_global_step": "best_step",
}
_SUMMARY = ("train_runtime", "train_samples_per_second", "total_flos")


def claim(source: Source) -> float:
    """It has a `log_history`."""
    return 1.0 if b'"log_history"' in source.head or _history(source) is not None else 0.0


def _history(source: Source) -> list[JsonValue] | None:
    if not source.is_text or not source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return None
    state = source.json
    history = state.get("log_history") if isinstance(state, dict) else None
    return history if isinstance(history, list) else None


def read(source: Source, builder: Builder) -> None:
    """Entries of `log_history` are counted from 1. The summary at the end of a run is configuration, not a point."""
    builder.row_word = "entry"
    history, state = _history(source), source.json
    if history is None or not isinstance(state, dict):
        builder.nothing = "its log_history cannot be read"
        return
    for key, name in _CONFIG.items():
        if isinstance(state.get(key), int | float):
            builder.configure(name, state[key])
    if not history:
        builder.nothing = "its log_history is empty: nothing was logged"
    for number, entry in enumerate(history, 1):
        if isinstance(entry, dict):
            _add(number, entry, builder)
        else:
            builder.note(f"entry {number} is not a record", partial=True)


def _add(number: int, entry: Mapping[str, JsonValue], builder: Builder) -> None:
    values = {key: value for key, raw in entry.items() if (value := number_of(raw)) is not None}
    step, epoch = values.pop("step", None), values.pop("epoch", None)
    if any(key in values for key in _SUMMARY):
        if "train_loss" in values:
            builder.config["final_train_loss"] = values["train_loss"]
        values = {key: value for key, value in values.items() if not key.startswith(("train_", "total_"))}
    add_evaluation_rate(values, builder)
    if values:
        builder.add(number, values, step=step, epoch=epoch)
