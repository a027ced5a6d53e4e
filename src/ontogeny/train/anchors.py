"""Anchors: what loss terms keep of the model that training starts from, computed once and kept in the run."""

from pathlib import Path
from typing import TYPE_CHECKING

from ontogeny.core.errors import StoreError
from ontogeny.core.origin import Origin
from ontogeny.core.recipe import Recipe
from ontogeny.core.terms import Start, Term
from ontogeny.data.prepare import Prepared
from ontogeny.looking.guard import looking
from ontogeny.objectives.compose import Anchors
from ontogeny.store import durable, schema
from ontogeny.store.manifest import Listed

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def anchored_terms(recipe: Recipe) -> list[Term]:
    """The terms of a recipe that keep an anchor."""
    return [term for term in recipe.objective if type(term).anchored]


def compute_anchors(recipe: Recipe, model: "PreTrainedModel", prepared: Prepared, origin: Origin | None) -> Anchors:
    """Examine the model that training starts from, and the anchors of the run it comes from. It is left as it was."""
    anchors = {}
    for term in anchored_terms(recipe):
        with looking(model):
            start = Start(
                model=model,
                passages=prepared.anchor_passages.get(term.label, ()),
                seed=recipe.train.seed if recipe.train else 0,
                earlier=_earlier(term, origin),
            )
            anchors[term.label] = dict(term.anchor(start))
    return anchors


def _earlier(term: Term, origin: Origin | None) -> "dict[str, Tensor]":
    """Its anchor in the run that the model comes from; empty if that is none of ours, or had no such term."""
    if origin is None or origin.parent is None or origin.tokenizer is None:
        return {}
    run = Path(origin.tokenizer).parent
    return _read(run, term.label) if _path(run, term.label).exists() else {}


def keep_anchors(run: Path, anchors: Anchors) -> None:
    """Write them into the run, a file for each term."""
    from safetensors.torch import save

    for label, tensors in anchors.items():
        durable.make_folder(run / schema.REMEMBERED_FOLDER)
        kept = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        durable.write_bytes(_path(run, label), save(kept))


def read_anchors(recipe: Recipe, run: Path) -> Anchors:
    """Read them from the run. Raises StoreError if one is missing: it cannot be computed from a later state."""
    return {term.label: _read(run, term.label) for term in anchored_terms(recipe)}


def _read(run: Path, label: str) -> "dict[str, Tensor]":
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        # Cloned, so that the tensors lie in aligned memory of their own.
        return {key: tensor.clone() for key, tensor in load(Listed(run).read(_path(run, label))).items()}
    except (StoreError, SafetensorError) as error:
        raise StoreError(
            f"{_path(run, label)}: what the loss term '{label}' remembers of the start cannot be read ({error}): bring "
            "the file back, or start a new run"
        ) from None


def _path(run: Path, label: str) -> Path:
    return run / schema.REMEMBERED_FOLDER / f"{label}.safetensors"
