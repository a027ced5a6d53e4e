"""Corpora that a model writes before training: written once, kept in the run."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ontogeny.core.corpora import Document
from ontogeny.core.errors import DataError, StoreError
from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.data.bos import decide, recorded
from ontogeny.data.documents import GeneratedCorpus
from ontogeny.data.prepare import used_corpora
from ontogeny.data.tokenizer import load_tokenizer
from ontogeny.models.build import load_causal_lm
from ontogeny.models.checkpoints import origin_of_checkpoint
from ontogeny.store import durable, schema
from ontogeny.store.manifest import Listed
from ontogeny.store.run import open_run
from ontogeny.train.session import to_device

Written = Mapping[str, list[Document]]
"""Documents by corpus."""
Author = tuple[Any, Any, tuple[int, ...]]
"""A model, its tokenizer, and the ids that stood before the texts that it was trained on."""


def written_corpora(recipe: Recipe) -> dict[str, GeneratedCorpus]:
    """Those of a recipe's corpora that are used and that a model writes."""
    corpora = {name: recipe.data.corpora[name] for name in used_corpora(recipe)}
    return {name: one for name, one in corpora.items() if isinstance(one, GeneratedCorpus)}


def write_corpora(
    recipe: Recipe, author: Callable[[], Author] | None, tell: Callable[[str], None], run: Path | None = None
) -> Written:
    """Let the model write them. What lies in `run` already is read.

    `author`: the model that training starts from; None if there is none yet, which raises DataError.
    """
    generated = {}
    for name, corpus in written_corpora(recipe).items():
        if run is not None and _path(run, name).exists():
            generated[name] = _read(run, name)
            continue
        if corpus.run is not None:
            model, tokenizer, bos = author_of(origin_of_checkpoint(open_run(Path(corpus.run)), corpus.step))
        elif author is not None:
            model, tokenizer, bos = author()
        else:
            raise DataError(
                f"corpus '{name}': a model from scratch has nothing to write: start from a run (model: {{kind: "
                "from_run, …}) or name one in the corpus (run: DIRECTORY)"
            )
        tell(f"writing corpus {name}")
        try:
            generated[name] = list(corpus.write(model, tokenizer, bos))
        except DataError as error:
            raise DataError(f"corpus '{name}': {error}") from None
    return generated


def author_of(origin: Origin) -> Author:
    """A model that exists, as it would be looked at, and its tokenizer."""
    tokenizer = load_tokenizer(origin.tokenizer or origin.path, origin.revision)
    bos = decide(None, tokenizer, "pretrained" if origin.parent is None else recorded(origin.parent))
    return to_device(load_causal_lm(origin)), tokenizer, bos.token_ids


def keep_written(run: Path, written: Written) -> None:
    """Write the documents into the run: JSON lines, a file for each corpus."""
    for name, documents in written.items():
        durable.make_folder(run / schema.WRITTEN_FOLDER)
        lines = [json.dumps({"text": document.text, "source": document.source}) + "\n" for document in documents]
        durable.write_bytes(_path(run, name), "".join(lines).encode())


def read_written(recipe: Recipe, run: Path) -> Written:
    """Read them from the run. Raises StoreError if they are not there: nobody writes the same again for certain."""
    return {name: _read(run, name) for name in written_corpora(recipe)}


def _read(run: Path, name: str) -> list[Document]:
    path = _path(run, name)
    try:
        lines = Listed(run).read(path).decode().splitlines()
        return [Document(**json.loads(line)) for line in lines]
    except (StoreError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: what was written for this run cannot be read ({error}): bring it back") from None


def _path(run: Path, name: str) -> Path:
    return run / schema.WRITTEN_FOLDER / f"{name}.jsonl"
