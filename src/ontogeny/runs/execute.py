"""Execute a recipe: prepare, train, look, record, save. And continue one exactly where it stopped."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.passages import side_widths
from ontogeny.core.progress import Place, Progress
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import dump_recipe
from ontogeny.models.build import is_adapter, save_model
from ontogeny.objectives.compose import Objective
from ontogeny.runs.cached_targets import PROVENANCE_KEY as TARGETS_IN_PROVENANCE
from ontogeny.runs.cached_targets import described as describe_targets
from ontogeny.runs.cached_targets import open_targets, require_same_targets
from ontogeny.runs.generated_corpora import keep_written
from ontogeny.runs.materials import (
    Materials,
    check_companions,
    gather,
    open_companions,
    open_training,
    require_same_companions,
)
from ontogeny.runs.parents import recipe_of
from ontogeny.runs.provenance import describe, environment
from ontogeny.runs.reopen import open_at, prepare_again, require_same_texts
from ontogeny.runs.status import keep_status
from ontogeny.runs.threads import threads_of
from ontogeny.store import durable, schema
from ontogeny.store.parents import parents_folder, relative_parents_folder
from ontogeny.store.run import Run, open_run
from ontogeny.store.schema import PROVENANCE
from ontogeny.store.writer import RunWriter
from ontogeny.train.anchors import compute_anchors, keep_anchors
from ontogeny.train.session import check_sides, term_context, to_device
from ontogeny.train.training import Listener, StageEvent, Training, observer_of, silent

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def execute(recipe: Recipe, *, runs_dir: Path, to: Path | None = None, listen: Listener = silent) -> Path:
    """Run a recipe, or continue its run if it was begun; return the run directory.

    A run that is already finished is returned as it is.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise OntogenyError("a run is recorded by one process so far: start it without torchrun or accelerate launch")
    path = to or run_path(recipe, runs_dir)
    if (path / PROVENANCE).exists():
        if recipe_of(open_run(path)).recipe_hash != recipe.recipe_hash:
            raise StoreError(f"{path} holds a run of another recipe: choose another directory with --to")
        return _return_or_continue(path, runs_dir, listen)
    materials = _with_targets(_gather(recipe, runs_dir, listen), runs_dir, listen)
    provenance = describe(
        recipe,
        materials.prepared.provenance,
        materials.model,
        parent=materials.origin.parent if materials.origin else None,
        companions={name: dict(companion.described) for name, companion in materials.companions.items()},
    )
    provenance |= relative_parents_folder(path, runs_dir)
    if materials.targets:
        provenance[TARGETS_IN_PROVENANCE] = describe_targets(materials.targets, materials.prepared.examples)
    with RunWriter.create(
        path, recipe_yaml=dump_recipe(recipe), recipe=recipe.as_json(), provenance=provenance
    ) as writer:
        _begin(materials, writer, listen)
    return path


def _return_or_continue(path: Path, runs_dir: Path, listen: Listener) -> Path:
    """A run that is there already: finished, on the same texts; or to be continued."""
    run = open_run(path)
    if not is_finished(run):
        return resume(path, runs_dir=runs_dir, listen=listen)
    prepare_again(run, recipe_of(run))
    for extension in run.provenance.get("extensions", []):
        listen(StageEvent(text=f"{path} was extended from {extension['from_steps']} to {extension['to_steps']} steps"))
    return path


def resume(path: Path, *, steps: int | None = None, runs_dir: Path | None = None, listen: Listener = silent) -> Path:
    """Continue a run from its last checkpoint, bit for bit as if it had not stopped; `steps` extends it.

    It computes on as many threads as the run began with. `runs_dir`: where parent runs are looked for, by default where
    they were when it began. Raises StoreError if a checkpoint is damaged or a companion is another one now, DataError
    if the texts have changed, OntogenyError if the run was not trained here.
    """
    run = open_run(path)
    recipe = _recipe_to_continue(run)
    total = _total_steps(run)
    if steps is not None and total is not None and steps <= total:
        raise OntogenyError(f"{path}: has {total} steps already; --steps must be more")
    if steps is None and is_finished(run):
        return path
    with threads_of(run, lambda text: listen(StageEvent(text=text))):
        if run.checkpoints:
            _go_on(recipe, run, total, steps, runs_dir or parents_folder(run), listen)
        else:
            _begin_again(recipe, run, runs_dir or parents_folder(run), listen)
    return path


def _go_on(recipe: Recipe, run: Run, total: int | None, steps: int | None, runs_dir: Path, listen: Listener) -> None:
    """Continue from the last checkpoint."""
    path, last = run.path, run.checkpoints[-1]
    last.verify()
    if recipe.train is None:
        raise OntogenyError(f"{path}: only looks at a model; look again with  ontogeny measure {path} --kind …")
    listen(StageEvent(text=f"continuing from step {last.step}: reading the texts again"))
    prepared = prepare_again(run, recipe)
    missing = _train_first(recipe, runs_dir, listen)
    companions = open_companions(recipe, prepared.tokenizer, runs_dir, missing, begun=run)
    require_same_companions(run, companions)
    with RunWriter.attach(path) as writer:
        writer.rewind(last.step, last.manifest["extra"]["metrics_rows"])
        with keep_status(writer):
            session = open_at(
                run, recipe, prepared, companions, last, steps or total, targets_beside=runs_dir, listen=listen
            )
            _note_resume(writer, last.step, total, steps)  # a run that cannot go on was not extended
            Training(recipe, session, writer, prepared, listen).carry_out()


def _begin(materials: Materials, writer: RunWriter, listen: Listener) -> None:
    """From an empty run to a finished one."""
    recipe, prepared, model = materials.recipe, materials.prepared, materials.model
    tokenizer, base = (writer.path / name for name in (schema.TOKENIZER_FOLDER, schema.BASE_FOLDER))
    with keep_status(writer):
        keep_written(writer.path, prepared.generated)
        with durable.filling(tokenizer):
            prepared.tokenizer.save_pretrained(str(tokenizer))
        for probe in prepared.probes.values():
            writer.put_probes(probe)
        if is_adapter(model):
            with durable.filling(base):
                save_model(_base_of(model), base)
        if recipe.train is None:
            writer.list_files(*schema.WRITTEN_ONCE)
            _only_look(materials, writer, listen)
        else:
            anchors = compute_anchors(recipe, to_device(model), prepared, materials.origin)
            keep_anchors(writer.path, anchors)
            session = open_training(materials, writer.path, anchors)
            writer.list_files(*schema.WRITTEN_ONCE)
            Training(recipe, session, writer, prepared, listen).carry_out()


def _begin_again(recipe: Recipe, run: Run, runs_dir: Path, listen: Listener) -> None:
    """A run that stopped before its first checkpoint has nothing to continue from."""
    materials = _gather(recipe, runs_dir, listen, run.path)
    require_same_texts(run, materials.prepared)
    require_same_companions(run, materials.companions)
    materials = _with_targets(materials, runs_dir, listen)
    require_same_targets(run, materials.targets)
    with RunWriter.attach(run.path) as writer:
        writer.rewind(-1, 0)
        _note_resume(writer, 0, None, None)
        _begin(materials, writer, listen)


def _recipe_to_continue(run: Run) -> Recipe:
    """Raises OntogenyError for what was recorded here but not trained here."""
    if "stations" in run.provenance:
        raise OntogenyError(
            f"{run.path} was made of checkpoints trained elsewhere: look again with  ontogeny measure --checkpoints … "
            "--to ANOTHER_DIRECTORY"
        )
    if not run.recipe_yaml:
        raise OntogenyError(f"{run.path} was recorded in somebody else's training loop: resume it there")
    return recipe_of(run)


def _total_steps(run: Run) -> int | None:
    """Length of the run in steps, extensions included."""
    known = [run.status.get("total_steps"), *(e["to_steps"] for e in run.provenance.get("extensions", []))]
    return max((steps for steps in known if steps is not None), default=None)


def is_finished(run: Run) -> bool:
    """Has it taken all its steps, those of extensions included, and ended well?"""
    return run.status.get("state") == "finished" and run.status.get("step") == _total_steps(run)


def run_path(recipe: Recipe, runs_dir: Path) -> Path:
    """Where a recipe's run goes: `<name>-<hash>`."""
    return runs_dir / f"{recipe.name.replace('/', '-')}-{recipe.recipe_hash[:8]}"


def _gather(recipe: Recipe, runs_dir: Path, listen: Listener, begun: Path | None = None) -> Materials:
    """Texts and models; parents that have no run yet are trained first. `begun`: the run, if there is one already."""

    def tell(text: str) -> None:
        listen(StageEvent(text=text))

    return gather(recipe, runs_dir, _train_first(recipe, runs_dir, listen), tell, begun)


def _with_targets(materials: Materials, runs_dir: Path, listen: Listener) -> Materials:
    """With the cached targets that the recipe's steps read."""
    return replace(materials, targets=open_targets(materials, runs_dir, listen))


def _train_first(recipe: Recipe, runs_dir: Path, listen: Listener) -> Callable[[Recipe], Path]:
    def train(parent: Recipe) -> Path:
        listen(StageEvent(text=f"{recipe.name} starts from {parent.name}, which is trained first"))
        return execute(parent, runs_dir=runs_dir, listen=listen)

    return train


def _base_of(model: "PreTrainedModel") -> "PreTrainedModel":
    """The model below its adapters, as a copy without them."""
    import copy

    without: PreTrainedModel = copy.deepcopy(model).unload()  # type: ignore[operator]
    return without


def _note_resume(writer: RunWriter, step: int, total: int | None, steps: int | None) -> None:
    provenance = writer.run.provenance
    resumes = [*provenance.get("resumes", []), {"step": step, "unix_s": time.time(), "environment": environment()}]
    extensions = provenance.get("extensions", [])
    if steps is not None and steps != total:
        extensions = [*extensions, {"at_step": step, "from_steps": total, "to_steps": steps}]
    writer.update_provenance(resumes=resumes, extensions=extensions)


def _only_look(materials: Materials, writer: RunWriter, listen: Listener) -> None:
    from ontogeny.models.weights import effective_weights, fingerprint

    recipe, model = materials.recipe, materials.model
    due = dict.fromkeys((measure.group for measure in recipe.measures), frozenset({0}))
    objective = Objective(recipe.objective, companions=materials.companions)
    check_companions(materials)
    widths: dict[str, int] = {}
    for name, probe in materials.prepared.probes.items():
        widths |= side_widths(probe.passages)
        check_sides(side_widths(probe.passages), model, objective, f"data.probes.{name}")
    objective.prepare(model)
    objective.build(term_context(model, objective.companions, widths, seed=0))
    if objective.modules:
        raise OntogenyError(
            f"the loss term '{next(iter(objective.modules))}' has parts that are trained, and the recipe trains "
            "nothing: say train, or leave the term out"
        )
    observer = observer_of(recipe, writer, materials.prepared, due, objective)
    weights_sha256 = fingerprint(effective_weights(model))
    place = Place(step=0, epoch=0.0, tokens_seen=0, flops=0.0, flops_counted=0.0, weights_sha256=weights_sha256)
    listen(StageEvent(text="looking at the model"))
    listen(observer.look(to_device(model), place, Progress(step=0, total_steps=0, epoch=0.0)))
    writer.set_status(step=0, total_steps=0)
    writer.flush()
