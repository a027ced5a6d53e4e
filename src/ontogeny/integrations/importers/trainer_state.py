"""Hugging Face `trainer_state.json`: the history that `Trainer` keeps beside each checkpoint."""

from typing import Any

from ontogeny.integrations.importers._builder import Builder
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
    """It holds a `log_history`."""
    return 1.0 if b'"log_history"' in source.head or _history(source) is not None else 0.0


def _history(source: Source) -> list[Any] | None:
    if not source.is_text or not source.head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return None
    found = source.json
    history = found.get("log_history") if isinstance(found, dict) else None
    return history if isinstance(history, list) else None


def read(source: Source, builder: Builder) -> None:
    """Entries are counted from 1 within `log_history`. The summary that ends a run is configuration, not a point."""
    builder.row_word = "entry"
    history = _history(source)
    if history is None:
        builder.nothing = "its log_history cannot be read"
        return
    state = source.json
    for key, name in _CONFIG.items():
        if isinstance(state.get(key), int | float):
            builder.config[name] = state[key]
    if not history:
        builder.nothing = "its log_history is empty: nothing was logged"
    for number, entry in enumerate(history, 1):
        if isinstance(entry, dict):
            _add(number, entry, builder)
        else:
            builder.note(f"entry {number} is no record", partial=True)


def _add(number: int, entry: dict[str, Any], builder: Builder) -> None:
    values = {key: value for key, raw in entry.items() if (value := number_of(raw)) is not None}
    step, epoch = values.pop("step", None), values.pop("epoch", None)
    if any(key in values for key in _SUMMARY):
        builder.config["final_train_loss"] = values.pop("train_loss", None)
        values = {key: value for key, value in values.items() if not key.startswith(("train_", "total_"))}
    for key in ("eval_runtime", "eval_samples_per_second"):
        if key in values:
            name = "eval_runtime_s" if key == "eval_runtime" else "eval_examples_per_second"
            builder.config.setdefault(name, []).append(values[key])
    if values:
        builder.add(number, values, step=step, epoch=epoch)
