"""What penalties remember of the model that training starts from: computed once, kept in the run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ontogeny.core.errors import StoreError
from ontogeny.core.origin import Origin
from ontogeny.core.penalties import Penalty, Start
from ontogeny.core.recipe import Recipe
from ontogeny.data.prepare import Prepared
from ontogeny.looking.guard import looking
from ontogeny.store import durable, schema

if TYPE_CHECKING:
    from torch import Tensor

Remembered = Mapping[str, "Mapping[str, Tensor]"]
"""By name of the term."""


def penalties_of(recipe: Recipe) -> list[Penalty]:
    """The terms of a recipe that remember the start."""
    return [term for term in recipe.objective if isinstance(term, Penalty)]


def remember(recipe: Recipe, model: Any, prepared: Prepared, origin: Origin | None) -> Remembered:
    """Look at the model that training starts from, and at what was remembered there. It is left as it was."""
    found = {}
    for term in penalties_of(recipe):
        with looking(model):
            start = Start(
                earlier=_earlier(term, origin),
                model=model,
                passages=prepared.remembered.get(term.name, ()),
                seed=recipe.train.seed if recipe.train else 0,
            )
            found[term.name] = dict(term.remember(start))
    return found


def _earlier(term: Penalty, origin: Origin | None) -> "Mapping[str, Tensor]":
    """What it remembered in the run that the model comes from; nothing if that is none of ours, or had no such term."""
    from safetensors.torch import load_file

    if origin is None or origin.parent is None or origin.tokenizer is None:
        return {}
    path = _path(Path(origin.tokenizer).parent, term.name)
    return load_file(path) if path.exists() else {}


def keep(run: Path, remembered: Remembered) -> None:
    """Write it into the run, a file for each term."""
    from safetensors.torch import save

    for name, tensors in remembered.items():
        durable.make_folder(run / schema.REMEMBERED_FOLDER)
        kept = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
        durable.write_bytes(_path(run, name), save(kept))


def recall(recipe: Recipe, run: Path) -> Remembered:
    """Read it from the run. Raises StoreError if it is not there: it cannot be computed from a later state."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    found = {}
    for term in penalties_of(recipe):
        path = _path(run, term.name)
        try:
            found[term.name] = {key: tensor.clone() for key, tensor in load_file(path).items()}
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"{path}: what the loss term '{term.name}' remembers of the start cannot be read ({error}): bring the "
                "file back, or start a new run"
            ) from None
    return found


def _path(run: Path, name: str) -> Path:
    return run / schema.REMEMBERED_FOLDER / f"{name}.safetensors"
