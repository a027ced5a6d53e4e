"""Companions' cached targets: found beside the runs, or filled before training; the same ones when a run continues."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ontogeny.core.cached_targets import TargetForm
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.core.json_types import JsonObject
from ontogeny.core.passages import Passage, ProbeSet
from ontogeny.core.recipe import Recipe
from ontogeny.core.seeds import derive_seed
from ontogeny.data.collate import collate
from ontogeny.looking.batch_plan import plan_batches
from ontogeny.models.body_and_head import shape_of
from ontogeny.models.companions import Companion
from ontogeny.objectives.cached_targets import kept_of
from ontogeny.objectives.forward import FrozenForward
from ontogeny.objectives.layers import predicting
from ontogeny.objectives.tiled_divergence import ROWS
from ontogeny.runs.materials import Materials, check_companions
from ontogeny.store import durable
from ontogeny.store.cached_targets import ShardWriter, TargetShard, TargetsKey, lock_path, target_tokens, writing_shard
from ontogeny.store.lock import HeldError, RunLock
from ontogeny.store.run import Run
from ontogeny.train.training import Listener, ProgressEvent, StageEvent

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 4096
_WAIT_S = 0.2
PROVENANCE_KEY = "cached_targets"


def open_targets(materials: Materials, runs_dir: Path, listen: Listener) -> dict[str, TargetShard]:
    """By companion, the targets that the recipe's steps read from a cache, filled where they are not there yet.

    Runs that need the same ones wait for the one that fills them. Raises OntogenyError for a companion or a vocabulary
    that cannot be cached, StoreError for a damaged cache.
    """
    recipe = materials.recipe
    forms = {name: target_form(name, materials) for name in (recipe.train.cached_targets if recipe.train else ())}
    if forms:
        check_companions(materials)
    return {name: _opened(name, form, materials, runs_dir, listen) for name, form in forms.items()}


def target_form(name: str, materials: Materials) -> TargetForm:
    """What is kept of a companion's distributions. Raises OntogenyError if it cannot be."""
    recipe, companion = materials.recipe, materials.companions[name]
    where = f"train.cached_targets.{name}"
    if companion.tokenizer is not None:
        raise OntogenyError(
            f"{where}: the companion has a tokenizer of its own, and targets are of the student's tokens: choose a "
            "teacher with the student's tokenizer"
        )
    vocabulary = min(shape_of(materials.model).vocabulary, companion.shape.vocabulary)
    try:
        form = recipe.target_form(name, vocabulary)
    except ValueError as error:
        raise OntogenyError(f"{where}: {error}") from None
    if form.top_k is not None and form.top_k >= vocabulary:
        raise OntogenyError(f"{where}: top_k {form.top_k} is all of {vocabulary} ids: write a smaller one")
    return form


def described(shards: Mapping[str, TargetShard], examples: Sequence[Passage]) -> JsonObject:
    """For the provenance: which targets the run began with, and how many tokens the companion read for them."""
    read = sum(len(passage) for passage in {passage.fingerprint: passage for passage in examples}.values())
    return {
        name: {
            "sha256": shard.sha256,
            "tokens_read": read,
            "target_tokens": shard.rows,
            "bytes_per_token": shard.form.row.itemsize,
        }
        for name, shard in shards.items()
    }


def require_same_targets(run: Run, shards: Mapping[str, TargetShard]) -> None:
    """Raise StoreError if cached targets are not those that the run began with."""
    before = run.provenance.get(PROVENANCE_KEY, {})
    for name, shard in shards.items():
        if (recorded := before.get(name, {}).get("sha256")) != shard.sha256:
            raise StoreError(
                f"{shard.folder} holds other targets of '{name}' than {run.path} began with (SHA-256 "
                f"{shard.sha256[:12]}, was {str(recorded)[:12]}): bring the old folder back, or start a new run"
            )


def planned(recipe: Recipe, materials: Materials) -> dict[str, tuple[str, int]]:
    """By companion: what its cache will hold, in words, and its size in bytes."""
    unique = {passage.fingerprint: passage for passage in materials.prepared.examples}.values()
    tokens = sum(map(target_tokens, unique))
    kept: dict[str, tuple[str, int]] = {}
    for name in recipe.train.cached_targets if recipe.train else ():
        form = target_form(name, materials)
        words = f"{form.what}, {form.row.itemsize:,} bytes for each of {tokens:,} target tokens"
        kept[name] = words, form.row.itemsize * tokens
    return kept


def _opened(name: str, form: TargetForm, materials: Materials, runs_dir: Path, listen: Listener) -> TargetShard:
    companion, examples = materials.companions[name], materials.prepared.examples
    key = TargetsKey(
        teacher_sha256=str(companion.described["weights_sha256"]),
        config_sha256=str(companion.described["config_sha256"]),
        tokenizer_sha256=str(companion.described["tokenizer_sha256"]),
        passages_sha256=ProbeSet(name="train", passages=examples).fingerprint,
        form=form,
    )
    folder = key.folder(runs_dir)
    if not durable.is_there(folder):  # a shard that is there is whole: it is renamed to its place
        durable.make_folder(folder.parent)
        with _alone(lock_path(folder), f"the cached targets of '{name}'", listen):
            if not durable.is_there(folder):
                passages = list({passage.fingerprint: passage for passage in examples}.values())
                with writing_shard(folder, key) as writer:
                    fill(writer, companion, passages, form, listen)
    return TargetShard(folder, key)


@contextlib.contextmanager
def _alone(path: Path, what: str, listen: Listener) -> Iterator[None]:
    """Hold the lock, once its holder has released it."""
    told = False
    while True:
        try:
            lock = RunLock(path)
            break
        except HeldError:
            if not told:
                listen(StageEvent(text=f"waiting for {what}, which another run fills"))
            told = True
            time.sleep(_WAIT_S)
    try:
        yield
    finally:
        lock.release()


def fill(
    writer: ShardWriter, companion: Companion, passages: Sequence[Passage], form: TargetForm, listen: Listener
) -> None:
    """Write what the companion says of each passage: one forward pass, the longest first, so that little is padded."""
    device = next(companion.model.parameters()).device
    listen(
        StageEvent(text=f"filling the cached targets of '{companion.name}'", total_steps=len(passages), unit="passages")
    )
    done = 0
    for rows in plan_batches([len(passage) for passage in passages], BATCH_TOKENS):
        own = [passages[row] for row in rows]
        forward = FrozenForward(companion, collate(own, 0).to(device), needs=frozenset())
        uniform = _uniform(own, form)
        start = 0
        parts = [np.zeros(0, dtype=form.row)]
        for block in predicting(forward.supervised).split(ROWS):
            draws = None if uniform is None else uniform[start : start + len(block)]
            logits = forward.logits_at(block)
            if not logits.amax(dim=-1).isfinite().all():  # NaN, infinity, or no id at all
                raise OntogenyError(_not_finite(companion, own, block, logits, forward.input_ids.shape[1]))
            parts.append(kept_of(logits, form, draws))
            start += len(block)
        writer.add(own, np.concatenate(parts))
        done += len(own)
        listen(ProgressEvent(done=done))


def _not_finite(
    companion: Companion, passages: Sequence[Passage], block: "Tensor", logits: "Tensor", width: int
) -> str:
    """Which passage of a batch has a logit that is no number; `block` int64 [n]: flat positions of `logits` [n, V]."""
    first = int(block[~logits.amax(dim=-1).isfinite()][0])
    return (
        f"the companion '{companion.name}' gives logits that are not finite, first on passage "
        f"{passages[first // width].source} after its token {first % width}: it cannot teach; look at its own training"
    )


def _uniform(passages: Sequence[Passage], form: TargetForm) -> np.ndarray | None:
    """float64 [n, samples] in [0, 1) for the target tokens of passages: a function of the seed and of each passage."""
    if form.samples is None:
        return None
    return np.concatenate(
        [
            np.random.default_rng(derive_seed(form.seed, "cached targets", passage.fingerprint)).random(
                (target_tokens(passage), form.samples)
            )
            for passage in passages
        ]
    )
