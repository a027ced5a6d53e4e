"""Our own runs as histories: what was recorded, without a detour over a file."""

from pathlib import Path

from ontogeny.integrations.importers._builder import Builder
from ontogeny.integrations.importers._names import Meaning
from ontogeny.store.history import TRAIN, History
from ontogeny.store.run import open_run

_NAMES = {"lr": "learning_rate", "evaluation/nll": "loss", "evaluation/perplexity": "perplexity",
          "evaluation/accuracy": "token_accuracy"}  # fmt: skip


def history_of_run(path: Path) -> History:
    """The scalars of a run directory; its probe sets are evaluation sets, its recipe is its configuration.

    Raises StoreError if the run is damaged.
    """
    run = open_run(path)
    builder = Builder(str(path), "Ontogeny run", row_word="row", meaning=_meaning)
    table = run.metrics
    kept = table[table["scope"] != "timing"]
    for row, step, time, name, scope, value in zip(
        kept.index + 1, kept["step"], kept["time_unix_s"], kept["name"], kept["scope"], kept["value"], strict=True
    ):
        builder.add(int(row), {f"{scope}|{name}": value}, step=int(step), time_unix_s=float(time))
    train = run.recipe.get("train") or {}
    builder.config["max_steps"] = run.status.get("total_steps")
    builder.config["learning_rate"] = train.get("learning_rate")
    builder.config["interrupted"] = run.status.get("state") in ("interrupted", "failed") or None
    return builder.build()


def _meaning(label: str) -> Meaning:
    scope, _, name = label.partition("|")
    return Meaning(TRAIN if scope in (TRAIN, "model") else scope, _NAMES.get(name, name), "")
