"""Our own runs as histories, read directly from the run directory."""

import re
from collections.abc import Mapping
from pathlib import Path

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import Meaning
from ontogeny.store.history import TRAIN, History
from ontogeny.store.run import Run, open_run

_NAMES = {"evaluation/nll": "loss", "evaluation/perplexity": "perplexity", "evaluation/top1": "token_accuracy"}
_SECONDARY = re.compile(r"(?:_se|_low|_high|/n|/n_tokens|/skipped|/objective)$|/term_|/reference_|/sampled_|/length$")
"""No curves to judge: errors, counts, duplicates, and the length of texts that the measure itself truncates."""


def history_of_run(path: Path) -> History:
    """The scalars of a run directory. Its probe sets are evaluation sets, its recipe is the configuration.

    Raises StoreError if the run is damaged.
    """
    run = open_run(path)
    builder = Builder(str(path), "Ontogeny run", row_word="row", meaning=_meaning)
    table = run.metrics
    kept = table[(table["scope"] != "timing") & ~table["name"].str.contains(_SECONDARY)]
    for row, step, time, name, scope, value in zip(
        kept.index + 1, kept["step"], kept["time_unix_s"], kept["name"], kept["scope"], kept["value"], strict=True
    ):
        builder.add(int(row), {f"{scope} {name}": value}, step=int(step), time_unix_s=float(time))
    _configure(run, builder)
    return builder.build()


def _configure(run: Run, builder: Builder) -> None:
    train = _table(run.recipe.get("train"))
    lr, model, state = _table(train.get("lr")), _table(run.recipe.get("model")).get("kind"), run.status.get("state")
    arguments = _table(run.provenance.get("training_arguments"))  # of somebody else's trainer
    settings: dict[str, object] = {
        "max_steps": run.status.get("total_steps"),
        "epochs": train.get("epochs"),
        "batch_size": train.get("batch"),
        "accumulation": train.get("accumulate"),
        "learning_rate": lr.get("value"),
        "schedule": lr.get("shape"),
        "weight_decay": _table(train.get("optimizer")).get("weight_decay"),
        "max_grad_norm": train.get("clip") or arguments.get("max_grad_norm"),
        "clip_key": "train.clip" if train.get("clip") else None,
        "optimizer": _table(train.get("optimizer")).get("kind")
        or run.provenance.get("optimizer")
        or arguments.get("optim"),
        "peft": "lora" if train.get("lora") else None,
        "from_scratch": True if model == "ladder" else None,
        "pretrained": True if model in ("from_run", "pretrained") else None,
        "interrupted": True if state in ("interrupted", "failed") else None,
    }
    for key, value in settings.items():
        builder.configure(key, value)


def _table(value: object) -> Mapping[str, object]:
    """A table of the recipe; empty if it is absent or a plain value."""
    return value if isinstance(value, Mapping) else {}


def _meaning(label: str) -> Meaning:
    """Labels are `scope name`. A probe set called `train` keeps its names: its loss is not the training loss."""
    scope, _, name = label.partition(" ")
    if scope == TRAIN:
        return Meaning(TRAIN, name, "nats" if name in ("loss", "evaluation/nll") else "")
    ours = _NAMES.get(name, name)
    return Meaning(TRAIN if scope == "model" else scope, ours, "nats" if ours == "loss" else "")
