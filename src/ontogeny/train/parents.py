"""Earlier runs as sources of models: found by what shaped their weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ontogeny.core.contracts import Origin
from ontogeny.core.errors import StoreError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe, validate
from ontogeny.store.run import Checkpoint, Run, open_run
from ontogeny.store.schema import RECIPE_JSON


def find_finished_run(runs_dir: Path, train_hash: str) -> Path | None:
    """The finished run with that train hash, if there is one below `runs_dir`."""
    for path in sorted(runs_dir.glob("*/provenance.json")):
        try:
            run = open_run(path.parent)
        except StoreError:
            continue
        if run.provenance.get("train_hash") == train_hash and run.status.get("state") == "finished":
            return path.parent
    return None


def recipe_of(run: Run) -> Recipe:
    """The recipe that a run executes, with every default as it was when the run began."""
    return validate(run.recipe, str(run.path / RECIPE_JSON))


def origin_of(recipe: Recipe, runs_dir: Path, missing: Callable[[Recipe], Path]) -> Origin | None:
    """Where the recipe's model exists already; None if it is made from scratch.

    A parent recipe whose run is not below `runs_dir` is given to `missing`, which trains it or raises.
    """

    def resolve(source: Any) -> Origin:
        if source.run is not None:
            return origin_of_checkpoint(open_run(Path(source.run)), source.step)
        parent = load_recipe(source.recipe, source.overrides)
        found = find_finished_run(runs_dir, parent.train_hash) or missing(parent)
        return origin_of_checkpoint(open_run(found), source.step)

    return recipe.model.origin(resolve)


def checkpoint_at(run: Run, step: int | None) -> Checkpoint:
    """The checkpoint at that step, or the last. Raises StoreError, naming the steps there are."""
    if not run.checkpoints:
        raise StoreError(f"{run.path} has no checkpoint")
    if step is None:
        return run.checkpoints[-1]
    for checkpoint in run.checkpoints:
        if checkpoint.step == step:
            return checkpoint
    raise StoreError(f"{run.path} has no checkpoint at step {step}; there are {[c.step for c in run.checkpoints]}")


def origin_of_checkpoint(run: Run, step: int | None) -> Origin:
    """Where that checkpoint's model and tokenizer are. Verifies its hashes."""
    checkpoint = checkpoint_at(run, step)
    checkpoint.verify()
    adapter = (checkpoint.model_path / "adapter_config.json").exists()
    return Origin(
        path=str(run.path / "base") if adapter else str(checkpoint.model_path),
        adapter=str(checkpoint.model_path) if adapter else None,
        tokenizer=str(run.path / "tokenizer"),
        parent={
            "run": run.path.name,
            "step": checkpoint.step,
            "weights_sha256": checkpoint.place.weights_sha256,
            "train_hash": run.provenance.get("train_hash"),
        },
    )
