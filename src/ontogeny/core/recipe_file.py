"""Read and write recipes: YAML 1.2, dotted overrides, and errors that name file, line and key."""

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from ontogeny.core.component import Component
from ontogeny.core.errors import RecipeError, closest
from ontogeny.core.kinds import Room
from ontogeny.core.overrides import apply_override
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_errors import explain
from ontogeny.core.yaml_tree import Location, read_yaml, write_yaml


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by path, or a shipped one by name, and apply overrides such as ``train.seed=3``.

    Raises RecipeError: one line for each fault, with file, line, key, what is wrong and what to write instead.
    """
    path, text = _read(name_or_path)
    tree, origins = read_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}, line 1: a recipe is a mapping that begins with  name: NAME")
    for override in overrides:
        apply_override(tree, override, origins)
    return validate(tree, str(path), origins)


def validate(tree: Mapping[str, Any], where: str, origins: Mapping[Location, str] | None = None) -> Recipe:
    """Validate plain values as a recipe. `where` names them in errors; `origins` knows the line of each key.

    Raises RecipeError, a line for each fault.
    """
    try:
        return Recipe.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise RecipeError(explain(error, Recipe, tree, origins or {}, where)) from None


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of plain values with overrides applied, for recipes (or components) that come from no file."""
    changed = copy.deepcopy(tree)
    for override in overrides:
        apply_override(changed, override, {})
    return changed


def validate_component(room: str, tree: Mapping[str, Any] | str) -> Any:
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
    """The recipe as YAML, as short as it can be said: what equals its default is left out.

    Loading it gives an equal recipe with the same hashes.
    """
    return write_yaml(recipe.model_dump(mode="json", exclude_defaults=True))


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe, with every kind that is installed described."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(_names(resources.files("ontogeny") / "recipes", ""))


def _names(folder: Any, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def _read(name_or_path: str | Path) -> tuple[Path, str]:
    path = Path(name_or_path)
    if not path.suffix and not path.is_file():
        shipped = resources.files("ontogeny") / "recipes" / f"{name_or_path}.yaml"
        if not shipped.is_file():
            names = closest(str(name_or_path), shipped_recipes())
            raise RecipeError(f"no recipe '{name_or_path}', neither shipped nor a file: {names}")
        path = Path(str(shipped))
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error})") from None
