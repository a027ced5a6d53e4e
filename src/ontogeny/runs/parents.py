"""Earlier runs as sources of models: found by what shaped their weights."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import DataError, StoreError
from ontogeny.core.model_sources import ModelSource
from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe, validate
from ontogeny.data.bos import Bos
from ontogeny.models.checkpoints import origin_of_checkpoint
from ontogeny.store.run import Run, open_run
from ontogeny.store.schema import RECIPE_JSON, TOKENIZER_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from ontogeny.models.sources.from_run import FromRun


def find_finished_run(runs_dir: Path, train_hash: str) -> Path | None:
    """The finished run with that train hash, if there is one below `runs_dir`."""
    for path in sorted(runs_dir.glob("*/provenance.json")):
        with suppress(StoreError):  # a damaged run is none to start from
            run = open_run(path.parent)
            as_the_recipe_says = run.provenance.get("train_hash") == train_hash and not run.provenance.get("extensions")
            whole = run.status.get("state") == "finished" and (run.path / TOKENIZER_FOLDER).is_dir()
            if as_the_recipe_says and whole and run.checkpoints:
                return path.parent
    return None


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
    """The recipe that a run executes, with every default as it was when the run began.

    Raises StoreError if it does not have the hash that the provenance names.
    """
    recipe = validate(run.recipe, str(run.path / RECIPE_JSON))
    expected = run.provenance.get("recipe_hash", recipe.recipe_hash)
    if recipe.recipe_hash != expected:
        raise StoreError(
            f"{run.path / RECIPE_JSON} is damaged: the recipe's hash is {recipe.recipe_hash}, the run began with "
            f"{expected}"
        )
    return recipe


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """A model in memory in the place of one whose run is missing, for a trial."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"
    bos: Bos
    """What stands before its texts."""


Missing = Callable[[Recipe], Path | StandIn]
"""Called with a parent recipe that has no finished run: trains it, lets a model stand in for it, or raises."""


def origin_of(source: ModelSource, runs_dir: Path, missing: Missing) -> Origin | StandIn | None:
    """Where a model exists already; None if it is made from scratch.

    A parent recipe whose run is not below `runs_dir` is given to `missing`.
    """

    def resolve(from_run: "FromRun") -> Origin | StandIn:
        if from_run.run is not None:
            return origin_of_checkpoint(open_run(Path(from_run.run)), from_run.step)
        assert from_run.recipe is not None
        parent = load_recipe(from_run.recipe, from_run.overrides)
        run = find_finished_run(runs_dir, parent.train_hash) or missing(parent)
        if isinstance(run, StandIn):
            return run
        return origin_of_checkpoint(open_run(run), _step_of(from_run, open_run(run)))

    return source.origin(resolve)


def _step_of(from_run: "FromRun", run: Run) -> int | None:
    """The checkpoint that a recipe asks for: where its own training ended, if the run was extended since."""
    extensions = run.provenance.get("extensions")
    return extensions[0]["from_steps"] if from_run.step is None and extensions else from_run.step


def parents_of(recipe: Recipe) -> "list[tuple[FromRun, Recipe]]":
    """The recipes whose models a recipe starts from or reads as companions: the model's first, if it has one."""
    parents: list[tuple[FromRun, Recipe]] = []

    def resolve(from_run: "FromRun") -> None:
        if from_run.recipe is not None:
            parents.append((from_run, load_recipe(from_run.recipe, from_run.overrides)))

    for source in (recipe.model, *recipe.companions.values()):
        source.origin(resolve)
    return parents


def ancestors_of(recipe: Recipe) -> "list[tuple[FromRun, Recipe]]":
    """Its parents, theirs, and so on: each after its own parents."""
    ancestors: list[tuple[FromRun, Recipe]] = []
    for from_run, parent in parents_of(recipe):
        ancestors += [*ancestors_of(parent), (from_run, parent)]
    return ancestors


def model_parent(recipe: Recipe) -> Recipe | None:
    """The recipe of the run that the model comes from; None without one."""
    return next((parent for from_run, parent in parents_of(recipe) if from_run is recipe.model), None)
