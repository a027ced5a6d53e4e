"""A recipe's training in a folder that is thrown away: to see what it costs, or whether it is in order."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import dump_recipe
from ontogeny.runs.materials import Materials, gather, open_training
from ontogeny.runs.parents import StandIn
from ontogeny.store.writer import RunWriter
from ontogeny.train.anchors import compute_anchors
from ontogeny.train.training import Training, silent


@contextlib.contextmanager
def trial(materials: Materials, path: Path) -> Iterator[Training]:
    """A training at its beginning, in a run directory at `path`. Nothing has been looked at or saved."""
    recipe, prepared = materials.recipe, materials.prepared
    anchors = compute_anchors(recipe, materials.model, prepared, None)
    with RunWriter.create(path, recipe_yaml=dump_recipe(recipe), recipe=recipe.as_json(), provenance={}) as writer:
        session = open_training(materials, path, anchors)
        for probe in prepared.probes.values():
            writer.put_probes(probe)
        yield Training(recipe, session, writer, prepared, silent)


def trial_materials(recipe: Recipe, runs_dir: Path) -> tuple[Materials, list[Recipe]]:
    """Texts and models of a recipe, and the parent recipes whose runs are missing.

    In the place of a missing one stands the model that its own training starts from.
    """
    lacking: list[Recipe] = []

    def stand_in(parent: Recipe) -> StandIn:
        if parent.train_hash not in {known.train_hash for known in lacking}:
            lacking.append(parent)
        before, _ = trial_materials(parent, runs_dir)
        return StandIn(model=before.model, tokenizer=before.prepared.tokenizer, bos=before.prepared.bos)

    return gather(recipe, runs_dir, stand_in), lacking
