"""A recipe's training in a folder that is thrown away: to see what it costs, or whether it is in order."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import dump_recipe
from ontogeny.data.prepare import Prepared, prepare
from ontogeny.data.tokenizer import load_tokenizer
from ontogeny.models.build import Limits, LoadContext, build_model, read_limits
from ontogeny.runs.generated_corpora import author_of, write_corpora
from ontogeny.runs.parents import origin_of
from ontogeny.store.writer import RunWriter
from ontogeny.train.anchors import remember
from ontogeny.train.session import open_session
from ontogeny.train.training import Training, silent


@contextlib.contextmanager
def trial(recipe: Recipe, prepared: Prepared, model: Any, path: Path) -> Iterator[Training]:
    """A training at its beginning, in a run directory at `path`. Nothing has been looked at or saved."""
    session = open_session(
        recipe,
        model=model,
        tokenizer=prepared.tokenizer,
        examples=prepared.examples,
        replay=prepared.replay,
        nll=np.zeros(len(prepared.examples)),
        remembered=remember(recipe, model, prepared, None),
    )
    with RunWriter.create(path, recipe_yaml=dump_recipe(recipe), recipe=recipe.as_json(), provenance={}) as writer:
        for probe in prepared.probes.values():
            writer.put_probes(probe)
        yield Training(recipe, session, writer, prepared, silent)


class _ParentMissingError(Exception):
    """The run that a model is to come from has not been trained yet."""

    def __init__(self, parent: Recipe) -> None:
        self.parent = parent
        super().__init__(parent.name)


def _say_nothing(text: str) -> None:
    """A plan says only what it found."""


def _refuse(parent: Recipe) -> Path:
    raise _ParentMissingError(parent)


def build_trial(recipe: Recipe, runs_dir: Path) -> tuple[Prepared, Any, Recipe | None]:
    """Texts and model of a recipe, and the recipe of a parent run that is missing, if it is.

    The model that the parent's training starts from then stands in.
    """
    try:
        origin = origin_of(recipe, runs_dir, _refuse)
    except _ParentMissingError as missing:
        before, model, _ = build_trial(missing.parent, runs_dir)
        written = write_corpora(recipe, lambda: (model, before.tokenizer), _say_nothing)
        return prepare(recipe, tokenizer=before.tokenizer, written=written), model, missing.parent
    tokenizer, limits = None, Limits()
    if origin is not None:
        limits = read_limits(origin)
        if recipe.tokenizer.path is None and recipe.tokenizer.vocab_size is None:
            tokenizer = load_tokenizer(origin.tokenizer or origin.path, origin.revision)
    written = write_corpora(recipe, (lambda: author_of(origin)) if origin else None, _say_nothing)
    prepared = prepare(recipe, tokenizer, limits.vocab_size, limits.context_length, written=written)
    train = recipe.train
    context = LoadContext(
        tokenizer=prepared.tokenizer,
        length=recipe.longest,
        seed=train.seed if train else 0,
        dropout=train.dropout if train else None,
        origin=origin,
    )
    return prepared, build_model(recipe, context), None
