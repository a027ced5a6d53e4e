"""Look afterwards: measures over the saved checkpoints of a run, exactly as they would have looked live."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError, closest
from ontogeny.core.measures import BatchMeasure
from ontogeny.core.progress import Progress
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_kinds import TERMS
from ontogeny.data.bos import recorded
from ontogeny.data.tokenizer import load_tokenizer
from ontogeny.looking.observer import LookEvent, Measure, Observer, check_probes
from ontogeny.looking.weights_history import WeightsHistory, saved_weights
from ontogeny.models.checkpoints import load_verified
from ontogeny.objectives.compose import Objective
from ontogeny.runs.materials import Companions, open_companions, refuse_missing, require_same_companions
from ontogeny.runs.parents import recipe_of
from ontogeny.runs.provenance import environment
from ontogeny.runs.reopen import open_at, prepare_again
from ontogeny.runs.threads import threads_of
from ontogeny.store.parents import parents_folder
from ontogeny.store.run import Checkpoint, Run, open_run
from ontogeny.store.schema import TOKENIZER_FOLDER
from ontogeny.store.writer import RunWriter
from ontogeny.train.anchors import read_anchors
from ontogeny.train.control_decisions import ControlDecisions
from ontogeny.train.live_training import LiveSession
from ontogeny.train.session import make_accelerator, on_device, term_context, to_device, torch_dtype
from ontogeny.train.steering import ObjectiveSteering
from ontogeny.train.trainer_state import TERMS_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def backfill(
    path: Path,
    measures: Sequence[Measure],
    *,
    steps: Sequence[int] | None = None,
    listen: Callable[[LookEvent], None] = lambda looked: None,
) -> list[int]:
    """Let measures look at saved checkpoints (by default all); return the steps that were looked at.

    What they see is bit-identical to what they would have seen live, where they look at the training, too: it is opened
    again at each checkpoint. Raises StoreError if a checkpoint is damaged, a probe set or step unknown, or if the run
    keeps no checkpoints of its own or no training that could be opened; DataError if its texts have changed since.
    """
    run = open_run(path)
    chosen = _choose(run.checkpoints, steps, path)
    check_probes(measures, run.probes)
    live = [measure for measure in measures if measure.live]
    recipe = recipe_of(run) if run.recipe_yaml else None
    prepared = prepare_again(run, _trained_by(run, recipe, live)) if live else None
    run.verify_files(TOKENIZER_FOLDER)
    with threads_of(run), RunWriter.attach(path) as writer:
        tokenizer = load_tokenizer(str(path / TOKENIZER_FOLDER))
        due = {measure.group: frozenset(c.step for c in chosen) for measure in measures}
        companions = _companions(run, recipe, tokenizer)
        objective = _objective(recipe, path, companions)
        observer = observer_for(writer, measures, tokenizer, objective, recipe, due, saved_weights(run))
        observer.recorded = _recorded(run)
        note = {"measures": [m.model_dump(mode="json") for m in measures], "steps": [c.step for c in chosen]}
        note |= {"unix_s": time.time(), "environment": environment()}
        writer.update_provenance(backfills=[*run.provenance.get("backfills", []), note])
        for checkpoint in chosen:
            checkpoint.verify()
            place = checkpoint.place
            total_steps = int(checkpoint.manifest["extra"].get("total_steps") or run.status.get("total_steps") or 0)
            progress = Progress(step=place.step, total_steps=total_steps, epoch=place.epoch)
            if recipe is not None and prepared is not None:
                session = open_at(run, recipe, prepared, companions, checkpoint, total_steps)
                observer.objective = session.objective
                listen(observer.look(session.model, place, progress, LiveSession(session)))
            else:
                model = to_device(load_verified(run, checkpoint))
                _restore_terms(objective, recipe, model, run, checkpoint)
                _put_weights_in_force(objective, recipe, run, place.step)
                listen(observer.look(model, place, progress))
        writer.flush()
    return [c.step for c in chosen]


def _put_weights_in_force(objective: Objective, recipe: Recipe | None, run: Run, step: int) -> None:
    """Give the terms the weights that controls had decided on before that state."""
    if recipe is not None and recipe.train is not None and recipe.train.controls:
        objective.decided_weights.clear()
        metrics = run.metrics
        earlier = ControlDecisions(recipe.train.controls, metrics[metrics["step"] < step])
        earlier.put_in_force(ObjectiveSteering(objective))


def _trained_by(run: Run, recipe: Recipe | None, live: Sequence[Measure]) -> Recipe:
    """The recipe whose training measures are to see. Raises StoreError if it cannot be opened again."""
    for measure in live:
        if isinstance(measure, BatchMeasure):
            raise StoreError(
                f"'{measure.group}' looks at batches just before and after their step, which no checkpoint holds: put "
                "it into the recipe's measures and run that"
            )
    if recipe is None or recipe.train is None or "stations" in run.provenance:
        raise StoreError(
            f"'{live[0].group}' looks at the training itself (optimizer, next batch), and {run.path} was not trained "
            "here: put it into a recipe's measures and run that"
        )
    return recipe


def _recorded(run: Run) -> frozenset[tuple[int, str, str]]:
    """(step, scope, name) of the measures' scalars that the metrics hold already."""
    rows = run.metrics
    return frozenset(zip(rows["step"], rows["scope"].astype(str), rows["name"].astype(str), strict=True))


def observer_for(
    writer: RunWriter,
    measures: Sequence[Measure],
    tokenizer: "PreTrainedTokenizerFast",
    objective: Objective,
    recipe: Recipe | None,
    due: Mapping[str, frozenset[int]],
    history: WeightsHistory,
) -> Observer:
    """An observer over the probe sets that the run stored."""
    return Observer(
        writer=writer,
        measures=measures,
        probes=writer.run.probes,
        tokenizer=tokenizer,
        objective=objective,
        seed=recipe.train.seed if recipe and recipe.train else 0,
        due=due,
        history=history,
        bos=recorded(writer.run.provenance.get("data") or {}).token_ids,
    )


def _objective(recipe: Recipe | None, run: Path, companions: Companions) -> Objective:
    if recipe is None:
        return Objective([TERMS.make("next_token")])  # recorded in somebody else's loop: the usual loss
    device = make_accelerator("fp32").device
    return Objective(recipe.objective, on_device(read_anchors(recipe, run), device), companions, recipe.weighting)


def _companions(run: Run, recipe: Recipe | None, tokenizer: "PreTrainedTokenizerFast") -> Companions:
    if recipe is None or not recipe.companions:
        return {}
    companions = open_companions(recipe, tokenizer, parents_folder(run), refuse_missing, begun=run)
    require_same_companions(run, companions)
    return companions


def _restore_terms(
    objective: Objective, recipe: Recipe | None, model: "PreTrainedModel", run: Run, checkpoint: Checkpoint
) -> None:
    """The trainable parts of loss terms as they stood at the checkpoint."""
    objective.prepare(model)
    saved = checkpoint.trainer_path / TERMS_FILE
    if recipe is None or recipe.train is None or not saved.exists():
        return
    if not objective.modules:
        widths = run.provenance["data"]["train"].get("sides", {})
        objective.build(term_context(model, objective.companions, widths, recipe.train.seed))
        for module in objective.modules.values():
            module.to(model.device, torch_dtype(recipe.train.weights))
    objective.load_modules(saved, model.device)


def _choose(checkpoints: Sequence[Checkpoint], steps: Sequence[int] | None, path: Path) -> list[Checkpoint]:
    if not checkpoints:
        raise StoreError(f"{path} keeps no checkpoints: measure the originals with  ontogeny measure --checkpoints …")
    if steps is None:
        return list(checkpoints)
    known = {c.step: c for c in checkpoints}
    for step in steps:
        if step not in known:
            raise StoreError(f"{path} has no checkpoint at step {step}: {closest(str(step), map(str, known))}")
    return [known[step] for step in sorted(set(steps))]
