"""Read and write recipes: YAML 1.2, `extends:`, dotted overrides, and errors that name file, line and key."""

import copy
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import TypeAdapter, ValidationError

from ontogeny.core.component import Component
from ontogeny.core.errors import RecipeError, closest
from ontogeny.core.extends import lay_over
from ontogeny.core.json_types import Json, JsonTree
from ontogeny.core.kinds import Room
from ontogeny.core.overrides import apply_override
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_errors import explain
from ontogeny.core.yaml_tree import Location, Origins, read_yaml, write_yaml

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by path, or a shipped one by name, and apply overrides such as ``train.seed=3``.

    What the recipe extends is read first, and its own keys are laid over that.
    Raises RecipeError: one line for each fault, with file, line, key, what is wrong and what to write instead.
    """
    path = _find(name_or_path)
    tree, origins = _read_with_extended((path,))
    for override in overrides:
        apply_override(tree, override, origins)
    return validate(tree, str(path), origins)


def validate(tree: Mapping[str, Json], where: str, origins: Mapping[Location, str] | None = None) -> Recipe:
    """Validate plain values as a recipe. `where` names them in errors; `origins` knows the line of each key.

    Raises RecipeError, a line for each fault.
    """
    try:
        return Recipe.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe, tree, origins or {}, where)) from None


def apply_overrides(tree: dict[str, JsonTree], overrides: Iterable[str]) -> dict[str, JsonTree]:
    """A copy of plain values with overrides applied, for recipes (or components) that do not come from a file."""
    changed = copy.deepcopy(tree)
    for override in overrides:
        apply_override(changed, override, {})
    return changed


def validate_component(room: str, tree: Mapping[str, Json] | str) -> Any:
    """Validate plain values as a component of a room such as `ontogeny.measures`.

    Raises RecipeError, a line for each fault.
    """
    kind = tree if isinstance(tree, str) else tree.get("kind")
    where = f"{room.rpartition('.')[2]} '{kind}'"
    try:
        return TypeAdapter(Annotated[Component, Room(room)]).validate_json(json.dumps(tree))
    except ValidationError as error:
        raise RecipeError(explain(error, Annotated[Component, Room(room)], tree, {}, where)) from None


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML without settings that equal their defaults. Loading it gives an equal recipe and hashes."""
    return write_yaml(recipe.model_dump(mode="json", exclude_defaults=True))


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(_names(resources.files("ontogeny") / "recipes", ""))


def _names(folder: "Traversable", prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def _read_with_extended(chain: tuple[Path, ...]) -> tuple[dict[str, JsonTree], Origins]:
    """Plain values of the last file of the chain, laid over the recipe that it extends, if it does.

    The files before it in the chain are those that extend it.
    """
    path = chain[-1]
    own, own_origins = read_yaml(_text(path), str(path))
    if not isinstance(own, dict):
        raise RecipeError(f"{path}, line 1: a recipe is a mapping that begins with  name: NAME")
    extended = own.pop("extends", None)
    here = f"{own_origins.pop(('extends',), path)}, key 'extends'"
    if extended is None:
        return own, own_origins
    if not isinstance(extended, str):
        raise RecipeError(f"{here}: expected the name of a shipped recipe or a path, found {json.dumps(extended)}")
    extended_path = _find_extended(extended, path, here)
    if extended_path.resolve() in [earlier.resolve() for earlier in chain]:
        cycle = " extends ".join(map(str, (*chain, extended_path)))
        raise RecipeError(f"{here}: {cycle}: a recipe cannot extend itself")
    tree, origins = _read_with_extended((*chain, extended_path))
    lay_over(tree, origins, own, own_origins)
    return tree, origins


def _find_extended(name_or_path: str, path: Path, here: str) -> Path:
    """The file that `path` extends: beside it, or a shipped recipe."""
    beside = path.parent / name_or_path
    if os.path.isfile(beside):  # False, too, for what can be no path: of Path, it raises OSError
        return beside
    if beside.suffix:
        raise RecipeError(f"{here}: {beside}: no such file")
    try:
        return _find_shipped(name_or_path)
    except RecipeError as error:
        raise RecipeError(f"{here}: {error}") from None


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    return path if path.suffix or os.path.isfile(path) else _find_shipped(str(name_or_path))


def _find_shipped(name: str) -> Path:
    shipped = resources.files("ontogeny") / "recipes" / f"{name}.yaml"
    if not os.path.isfile(str(shipped)):
        raise RecipeError(f"no recipe '{name}', neither shipped nor a file: {closest(name, shipped_recipes())}")
    return Path(str(shipped))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # its bytes, or its path, are no text
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error})") from None
