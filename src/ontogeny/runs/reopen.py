"""A training opened again at one of its checkpoints, as it stood there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ontogeny.core.errors import DataError
from ontogeny.core.recipe import Recipe
from ontogeny.data.batch_plans import REPLAY_CARRIED, count_anew
from ontogeny.data.bos import recorded
from ontogeny.data.prepare import Prepared, prepare
from ontogeny.data.tokenizer import load_tokenizer
from ontogeny.models.checkpoints import load_verified
from ontogeny.runs.cached_targets import open_targets, require_same_targets
from ontogeny.runs.generated_corpora import read_written
from ontogeny.runs.materials import Companions, Materials, open_training
from ontogeny.store.run import Checkpoint, Run
from ontogeny.store.schema import TOKENIZER_FOLDER
from ontogeny.train.anchors import read_anchors
from ontogeny.train.control_decisions import ControlDecisions
from ontogeny.train.session import Session
from ontogeny.train.steering import SessionSteering
from ontogeny.train.trainer_state import restore_trainer
from ontogeny.train.training import Listener, silent


def prepare_again(run: Run, recipe: Recipe) -> Prepared:
    """The run's texts, read again. Raises DataError if they have changed since it began."""
    written = read_written(recipe, run.path)
    run.verify_files(TOKENIZER_FOLDER)
    tokenizer = load_tokenizer(str(run.path / TOKENIZER_FOLDER))
    began_with = recorded(run.provenance["data"])
    prepared = prepare(recipe, tokenizer=tokenizer, generated=written, trained=began_with)
    require_same_texts(run, prepared)
    return prepared


def require_same_texts(run: Run, prepared: Prepared) -> None:
    """Raise DataError if texts are not those that the run began with."""

    def fingerprints(data: Any) -> dict[str, str]:
        of_probes = {f"probe set '{name}'": of["sha256"] for name, of in data["probes"].items()}
        return {"data.train": data["train"]["sha256"], **of_probes}

    now = fingerprints(prepared.provenance)
    for name, before in fingerprints(run.provenance["data"]).items():
        if now[name] != before:
            raise DataError(
                f"{run.path}: the passages of {name} are no longer those that the run began with (fingerprint "
                f"{now[name]}, was {before}): bring the old texts back, or start a new run"
            )


def open_at(
    run: Run,
    recipe: Recipe,
    prepared: Prepared,
    companions: Companions,
    checkpoint: Checkpoint,
    total_steps: int | None,
    *,
    targets_beside: Path | None = None,
    listen: Listener = silent,
) -> Session:
    """The training at that checkpoint: weights, moments, terms, place in the data and what controls had decided.

    `targets_beside`: the folder of runs below which steps find cached targets; without one they read the companions.
    Raises StoreError if the checkpoint's weights are not those that were saved, or if cached targets are not those that
    the run began with.
    """
    model = load_verified(run, checkpoint, trainable=True)
    materials = Materials(recipe=recipe, prepared=prepared, model=model, origin=None, companions=companions)
    if targets_beside is not None:
        targets = open_targets(materials, targets_beside, listen)
        require_same_targets(run, targets)
        materials = replace(materials, targets=targets)
    session = open_training(materials, run.path, read_anchors(recipe, run.path), total_steps)
    restore_trainer(session, checkpoint.trainer_path)
    if session.train.controls:
        if not run.provenance.get(REPLAY_CARRIED):
            count_anew(session.plan)
        metrics = run.metrics
        earlier = ControlDecisions(session.train.controls, metrics[metrics["step"] < checkpoint.step])
        earlier.put_in_force(SessionSteering(session))
    return session
