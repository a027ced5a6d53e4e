"""Models as a run saved them: found, verified and loaded."""

from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError
from ontogeny.core.origin import Origin
from ontogeny.models.build import load_checkpoint
from ontogeny.models.weights import effective_weights, fingerprint
from ontogeny.store.run import Checkpoint, Run
from ontogeny.store.schema import BASE_FOLDER, TOKENIZER_FOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


def load_verified(run: Run, checkpoint: Checkpoint, *, trainable: bool = False) -> "PreTrainedModel":
    """The model of a checkpoint as it was live. Raises StoreError if it no longer has the weights that were saved.

    The checkpoint's own files have hashes of their own (`Checkpoint.verify`); this also covers the base below adapters.
    """
    run.verify_files(BASE_FOLDER)
    model = load_checkpoint(checkpoint.model_path, run.path / BASE_FOLDER, trainable=trainable)
    if fingerprint(effective_weights(model)) != checkpoint.place.weights_sha256:
        raise StoreError(
            f"{checkpoint.path}: these are not the weights that were saved at step {checkpoint.step}; "
            f"{run.path / BASE_FOLDER} was changed or damaged"
            if (run.path / BASE_FOLDER).exists()
            else f"{checkpoint.path}: these are not the weights that were saved at step {checkpoint.step}"
        )
    return model


def origin_of_checkpoint(run: Run, step: int | None) -> Origin:
    """Where that checkpoint's model and tokenizer are. Verifies its hashes."""
    checkpoint = checkpoint_at(run, step)
    checkpoint.verify()
    run.verify_files(TOKENIZER_FOLDER)
    run.verify_files(BASE_FOLDER)
    adapter = (checkpoint.model_path / "adapter_config.json").exists()
    return Origin(
        path=str(run.path / BASE_FOLDER) if adapter else str(checkpoint.model_path),
        adapter=str(checkpoint.model_path) if adapter else None,
        tokenizer=str(run.path / TOKENIZER_FOLDER),
        parent={
            "run": run.path.name,
            "step": checkpoint.step,
            "weights_sha256": checkpoint.place.weights_sha256,
            "train_hash": run.provenance.get("train_hash"),
            "data": run.recipe.get("data"),
            "bos": (run.provenance.get("data") or {}).get("bos"),
        },
    )
