"""Earlier runs as sources of models: found by what shaped their weights."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ontogeny.core.errors import DataError, StoreError
from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe, validate
from ontogeny.models.build import load_checkpoint
from ontogeny.models.weights import effective_weights, fingerprint
from ontogeny.store.run import Checkpoint, Run, open_run
from ontogeny.store.schema import RECIPE_JSON


def find_finished_run(runs_dir: Path, train_hash: str) -> Path | None:
    """The finished run with that train hash, if there is one below `runs_dir`."""
    for path in sorted(runs_dir.glob("*/provenance.json")):
        try:
            run = open_run(path.parent)
        except StoreError:
            continue
        as_the_recipe_says = run.provenance.get("train_hash") == train_hash and not run.provenance.get("extensions")
        whole = run.status.get("state") == "finished" and run.checkpoints and (run.path / "tokenizer").is_dir()
        if as_the_recipe_says and whole:
            return path.parent
    return None


def load_verified(run: Run, checkpoint: Checkpoint, *, trainable: bool = False) -> Any:
    """The model of a checkpoint as it was live. Raises StoreError if it no longer has the weights that were saved.

    The checkpoint's own files have hashes of their own (`Checkpoint.verify`); this also covers the base below adapters.
    """
    model = load_checkpoint(checkpoint.model_path, run.path / "base", trainable=trainable)
    if fingerprint(effective_weights(model)) != checkpoint.place.weights_sha256:
        raise StoreError(
            f"{checkpoint.path}: these are not the weights that were saved at step {checkpoint.step}; "
            f"{run.path / 'base'} was changed or damaged"
            if (run.path / "base").exists()
            else f"{checkpoint.path}: these are not the weights that were saved at step {checkpoint.step}"
        )
    return model


def check_held_out(recipe: Recipe, parent: Mapping[str, Any]) -> None:
    """Raise DataError if a corpus that the parent was trained on is split in another way here.

    What is held out here might then be what the parent was trained on. `data.allow_overlap` accepts it.
    """
    before = parent.get("data")
    if before is None or recipe.data.allow_overlap:
        return
    trained = {take["of"].split("/")[0] for take in before["train"]}
    mine = recipe.as_json()["data"]
    for take in recipe.data.probes.values():
        corpus = mine["corpora"][take.of.split("/")[0]]
        for name in trained:
            same_source = _source_of(before["corpora"][name]) == _source_of(corpus)
            if same_source and _splitting(before, before["corpora"][name]) != _splitting(mine, corpus):
                raise DataError(
                    f"data.probes: {take.of} is read from the corpus that {parent['run']} was trained on, but split "
                    "in another way, so that held-out text may be text it knows: use the same settings, splits and "
                    "split_seed for it, or say data.allow_overlap: true"
                )


def _source_of(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """What of a corpus says which text it reads."""
    return {key: corpus[key] for key in ("kind", "path", "name", "seed") if key in corpus}


def _splitting(data: Mapping[str, Any], corpus: Mapping[str, Any]) -> Any:
    return corpus, data["splits"], data["split_seed"]


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
            "data": run.recipe.get("data"),
        },
    )
