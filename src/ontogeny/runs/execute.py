"""Execute a recipe: prepare, train, look, record, save. And continue one exactly where it stopped."""

import os
import time
from pathlib import Path
from typing import Any

from ontogeny.core.contracts import Place, Progress
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import dump_recipe
from ontogeny.data.prepare import Prepared, prepare
from ontogeny.data.tokenizer import load_tokenizer
from ontogeny.models.build import Limits, LoadContext, build_model, is_adapter, read_limits, save_model
from ontogeny.objectives.compose import Objective
from ontogeny.runs.example_difficulty import example_nll
from ontogeny.runs.generated_corpora import author_of, keep_written, write_corpora
from ontogeny.runs.parents import check_held_out, origin_of, recipe_of
from ontogeny.runs.provenance import describe, environment
from ontogeny.runs.reopen import open_at, prepare_again, require_same_texts
from ontogeny.runs.status import keep_status
from ontogeny.store.run import Run, open_run
from ontogeny.store.schema import PROVENANCE
from ontogeny.store.writer import RunWriter
from ontogeny.train.anchors import Remembered, keep, remember
from ontogeny.train.session import Session, open_session, to_device
from ontogeny.train.training import Listener, StageEvent, Training, observer_of, silent


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
    prepared, model, origin = _prepare(recipe, runs_dir, listen)
    provenance = describe(recipe, prepared.provenance, model, origin.parent if origin else None)
    with RunWriter.create(
        path, recipe_yaml=dump_recipe(recipe), recipe=recipe.as_json(), provenance=provenance
    ) as writer:
        _begin(recipe, writer, model, origin, prepared, listen)
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

    `runs_dir`: where a parent run is looked for, by default beside the run. Raises StoreError if a checkpoint is
    damaged, DataError if the texts have changed since, OntogenyError if the run was not trained here.
    """
    run = open_run(path)
    recipe = _recipe_to_continue(run)
    total = _total_steps(run)
    if steps is not None and total is not None and steps <= total:
        raise OntogenyError(f"{path}: has {total} steps already; --steps must be more")
    if steps is None and is_finished(run):
        return path
    if not run.checkpoints:
        return _begin_again(recipe, run, runs_dir or path.parent, listen)
    last = run.checkpoints[-1]
    last.verify()
    if recipe.train is None:
        raise OntogenyError(f"{path}: only looks at a model; look again with  ontogeny measure {path} --kind …")
    listen(StageEvent(text=f"continuing from step {last.step}: reading the texts again"))
    prepared = prepare_again(run, recipe)
    with RunWriter.attach(path) as writer:
        writer.rewind(last.step, last.manifest["extra"]["metrics_rows"])
        _note_resume(writer, last.step, total, steps)
        with keep_status(writer):
            session = open_at(run, recipe, prepared, last, steps or total)
            Training(recipe, session, writer, prepared, listen).carry_out()
    return path


def _begin(
    recipe: Recipe, writer: RunWriter, model: Any, origin: Origin | None, prepared: Prepared, listen: Listener
) -> None:
    """From an empty run to a finished one."""
    keep_written(writer.path, prepared.written)
    prepared.tokenizer.save_pretrained(str(writer.path / "tokenizer"))
    for probe in prepared.probes.values():
        writer.put_probes(probe)
    if is_adapter(model):
        save_model(_base_of(model), writer.path / "base")
    with keep_status(writer):
        if recipe.train is None:
            _only_look(recipe, writer, model, prepared, listen)
        else:
            remembered = remember(recipe, to_device(model), prepared, origin)
            keep(writer.path, remembered)
            session = _open(recipe, writer.path, model, prepared, remembered)
            Training(recipe, session, writer, prepared, listen).carry_out()


def _begin_again(recipe: Recipe, run: Run, runs_dir: Path, listen: Listener) -> Path:
    """A run that stopped before its first checkpoint has nothing to continue from."""
    prepared, model, origin = _prepare(recipe, runs_dir, listen, run.path)
    require_same_texts(run, prepared)
    with RunWriter.attach(run.path) as writer:
        writer.rewind(-1, 0)
        _note_resume(writer, 0, None, None)
        _begin(recipe, writer, model, origin, prepared, listen)
    return run.path


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


def _open(recipe: Recipe, run: Path, model: Any, prepared: Prepared, remembered: Remembered) -> Session:
    return open_session(
        recipe,
        model=model,
        tokenizer=prepared.tokenizer,
        examples=prepared.examples,
        replay=prepared.replay,
        nll=example_nll(recipe, run, to_device(model), prepared),
        remembered=remembered,
    )


def run_path(recipe: Recipe, runs_dir: Path) -> Path:
    """Where a recipe's run goes: `<name>-<hash>`."""
    return runs_dir / f"{recipe.name.replace('/', '-')}-{recipe.recipe_hash[:8]}"


def _prepare(
    recipe: Recipe, runs_dir: Path, listen: Listener, begun: Path | None = None
) -> tuple[Prepared, Any, Origin | None]:
    """Texts, model, and where it existed before. `begun`: the run, if there is one already."""

    def train_first(parent: Recipe) -> Path:
        listen(StageEvent(text=f"{recipe.name} starts from {parent.name}, which is trained first"))
        return execute(parent, runs_dir=runs_dir, listen=listen)

    origin = origin_of(recipe, runs_dir, train_first)
    if origin is not None and origin.parent is not None:
        check_held_out(recipe, origin.parent)

    def tell(text: str) -> None:
        listen(StageEvent(text=text))

    tokenizer, limits = None, Limits()
    if origin is not None:
        limits = read_limits(origin)
        if recipe.tokenizer.path is None and recipe.tokenizer.vocab_size is None:
            tokenizer = load_tokenizer(origin.tokenizer or origin.path, origin.revision)
    written = write_corpora(recipe, (lambda: author_of(origin)) if origin else None, tell, begun)
    prepared = prepare(recipe, tokenizer, limits.vocab_size, limits.context_length, tell, written)
    tell("building the model")
    model = build_model(recipe, _load_context(recipe, prepared, origin))
    return prepared, model, origin


def _load_context(recipe: Recipe, prepared: Prepared, origin: Origin | None) -> LoadContext:
    train = recipe.train
    return LoadContext(
        tokenizer=prepared.tokenizer,
        length=recipe.longest,
        seed=train.seed if train else 0,
        dropout=train.dropout if train else None,
        origin=origin,
    )


def _base_of(model: Any) -> Any:
    """The model below its adapters, as a copy without them."""
    import copy

    return copy.deepcopy(model).unload()


def _note_resume(writer: RunWriter, step: int, total: int | None, steps: int | None) -> None:
    provenance = writer.run.provenance
    resumes = [*provenance.get("resumes", []), {"step": step, "unix_s": time.time(), "environment": environment()}]
    extensions = provenance.get("extensions", [])
    if steps is not None and steps != total:
        extensions = [*extensions, {"at_step": step, "from_steps": total, "to_steps": steps}]
    writer.update_provenance(resumes=resumes, extensions=extensions)


def _only_look(recipe: Recipe, writer: RunWriter, model: Any, prepared: Prepared, listen: Listener) -> None:
    from ontogeny.models.weights import effective_weights, fingerprint

    due = dict.fromkeys((m.group for m in recipe.measures), frozenset({0}))
    observer = observer_of(recipe, writer, prepared, due, Objective(recipe.objective))
    place = Place(
        step=0,
        epoch=0.0,
        tokens_seen=0,
        flops=0.0,
        flops_counted=0.0,
        weights_sha256=fingerprint(effective_weights(model)),
    )
    listen(StageEvent(text="looking at the model"))
    listen(observer.look(to_device(model), place, Progress(step=0, total_steps=0, epoch=0.0)))
    writer.set_status(step=0, total_steps=0)
    writer.flush()
