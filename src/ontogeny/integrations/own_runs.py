"""Our own runs as histories: what was recorded, without a detour over a file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import Meaning
from ontogeny.store.history import TRAIN, History
from ontogeny.store.run import Run, open_run

_NAMES = {"evaluation/nll": "loss", "evaluation/perplexity": "perplexity", "evaluation/top1": "token_accuracy"}
_BESIDE = re.compile(r"(?:_se|_low|_high|/n|/n_tokens|/skipped|/objective)$|/term_|/reference_|/sampled_|/length$")
"""Errors, counts, what is measured twice, and the length of texts that the measure itself cuts: no curves to judge."""


def history_of_run(path: Path) -> History:
    """The scalars of a run directory; its probe sets are evaluation sets, its recipe is its configuration.

    Raises StoreError if the run is damaged.
    """
    run = open_run(path)
    builder = Builder(str(path), "Ontogeny run", row_word="row", meaning=_meaning)
    table = run.metrics
    kept = table[(table["scope"] != "timing") & ~table["name"].str.contains(_BESIDE)]
    for row, step, time, name, scope, value in zip(
        kept.index + 1, kept["step"], kept["time_unix_s"], kept["name"], kept["scope"], kept["value"], strict=True
    ):
        builder.add(int(row), {f"{scope} {name}": value}, step=int(step), time_unix_s=float(time))
    builder.config |= _configuration(run)
    return builder.build()


def _configuration(run: Run) -> dict[str, Any]:
    train: Mapping[str, Any] = run.recipe.get("train") or {}
    lr = train.get("lr")
    model = (run.recipe.get("model") or {}).get("kind")
    state = run.status.get("state")
    return {
        "max_steps": run.status.get("total_steps"),
        "epochs": train.get("epochs"),
        "batch_size": train.get("batch"),
        "accumulation": train.get("accumulate"),
        "learning_rate": lr.get("value") if isinstance(lr, Mapping) else None,
        "schedule": lr.get("shape") if isinstance(lr, Mapping) else None,
        "weight_decay": (train.get("optimizer") or {}).get("weight_decay"),
        "max_grad_norm": train.get("clip"),
        "peft": "lora" if train.get("lora") else None,
        "from_scratch": True if model == "ladder" else None,
        "pretrained": True if model in ("from_run", "pretrained") else None,
        "interrupted": True if state in ("interrupted", "failed") else None,
    }


def _meaning(label: str) -> Meaning:
    """Labels are `scope name`. A probe set called `train` keeps its names: it is no training loss."""
    scope, _, name = label.partition(" ")
    if scope == TRAIN:
        return Meaning(TRAIN, name, "nats" if name in ("loss", "evaluation/nll") else "")
    known = _NAMES.get(name, name)
    return Meaning(TRAIN if scope == "model" else scope, known, "nats" if known == "loss" else "")
