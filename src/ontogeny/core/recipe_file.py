"""Read recipes: YAML 1.2, dotted overrides, and errors that name file, line and key."""

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ontogeny.core.errors import RecipeError, closest
from ontogeny.core.kinds import Room, find
from ontogeny.core.recipe import Recipe

Location = tuple[str | int, ...]


def load_recipe(name_or_path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by path, or a shipped one by name, and apply overrides such as ``train.seed=3``.

    Raises RecipeError with one line: file, line, key, what is wrong, what to write instead.
    """
    path, text = _read(name_or_path)
    tree, lines = _parse(path, text)
    for override in overrides:
        location = _apply(tree, override)
        lines[location] = f"override {override}"
    return validate(tree, str(path), lines)


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    root = resources.files("ontogeny") / "recipes"
    return sorted(_names(root, ""))


def _names(folder: Any, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def _read(name_or_path: str | Path) -> tuple[Path, str]:
    path = Path(name_or_path)
    if not path.suffix and not path.exists():
        shipped = resources.files("ontogeny") / "recipes" / f"{name_or_path}.yaml"
        if not shipped.is_file():
            raise RecipeError(f"no recipe '{name_or_path}', neither shipped nor a file: "
                              f"{closest(str(name_or_path), shipped_recipes())}")
        path = Path(str(shipped))
    try:
        return path, path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[Location, str]]:
    """Plain values, and for each key where it stands."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    yaml = YAML(typ="rt", pure=True)
    try:
        tree = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}" if mark else "somewhere"
        raise RecipeError(f"{path}, {where}: not YAML: {error.problem or error.context}") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}, line 1: a recipe is a mapping that starts with  name: …")
    lines: dict[Location, str] = {}
    return _plain(tree, (), lines), lines


def _plain(node: Any, location: Location, lines: dict[Location, str]) -> Any:
    if isinstance(node, Mapping):
        for key in node:
            lines[(*location, key)] = f"line {node.lc.key(key)[0] + 1}"
        return {str(key): _plain(value, (*location, key), lines) for key, value in node.items()}
    if isinstance(node, list):
        for i in range(len(node)):
            lines[(*location, i)] = f"line {node.lc.item(i)[0] + 1}"
        return [_plain(value, (*location, i), lines) for i, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for plain in (int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return str(node)


def _apply(tree: dict[str, Any], override: str) -> Location:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise RecipeError(f"override '{override}': write KEY=VALUE, for instance train.seed=3")
    try:
        value = _plain(YAML(typ="rt", pure=True).load(text), (), {}) if text else ""
    except YAMLError:
        value = text
    keys = dotted.split(".")
    node: Any = tree
    for key in keys[:-1]:
        if isinstance(node, list):
            node = node[_index(node, key, override)]
        else:
            if isinstance(node.get(key), str):  # a bare kind: give it settings
                node[key] = {"kind": node[key]}
            node = node.setdefault(key, {})
        if not isinstance(node, dict | list):
            raise RecipeError(f"override '{override}': '{key}' is a value, nothing can stand below it")
    if isinstance(node, list):
        node[_index(node, keys[-1], override)] = value
    else:
        node[keys[-1]] = value
    return tuple(keys)


def _index(node: list[Any], key: str, override: str) -> int:
    """A place in a list: its number, or the kind or name of the component that stands there."""
    for i, item in enumerate(node):
        if key == str(i) or item == key or (isinstance(item, dict) and key in (item.get("name"), item.get("kind"))):
            if item == key:
                node[i] = {"kind": key}
            return i
    named = [item if isinstance(item, str) else item.get("name") or item.get("kind") or i for i, item in enumerate(node)]
    raise RecipeError(f"override '{override}': no '{key}' in that list: {closest(key, map(str, named))}")


def validate(tree: Mapping[str, Any], where: str, lines: Mapping[Location, str] | None = None) -> Recipe:
    """Validate plain values as a recipe; all errors of one recipe come as one message, a line each."""
    try:
        return Recipe.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        messages = [_message(where, tree, lines or {}, item) for item in error.errors()]
        raise RecipeError("\n".join(dict.fromkeys(messages))) from None
    except ValueError as error:
        raise RecipeError(f"{where}: {error}") from None


def _message(where: str, tree: Any, lines: Mapping[Location, str], item: Any) -> str:
    location = tuple(part for part in item["loc"] if _exists(tree, part) or True)
    key = ".".join(str(part) for part in location) or "recipe"
    line = _line(lines, location)
    text = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        siblings = _fields_at(location[:-1], tree)
        text = f"unknown key '{location[-1]}': {closest(str(location[-1]), siblings)}"
    elif item["type"] == "missing":
        text = f"'{location[-1]}' is missing"
    elif not isinstance(item.get("input"), dict | list) and item["type"] != "value_error":
        text = f"{text[0].lower()}{text[1:]}, not {item.get('input')!r}"
    return f"{where}, {line}, key '{key}': {text}" if line else f"{where}, key '{key}': {text}"


def _exists(tree: Any, part: str | int) -> bool:
    return True


def _line(lines: Mapping[Location, str], location: Location) -> str:
    for end in range(len(location), 0, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return ""


def _fields_at(location: Location, tree: Any) -> list[str]:
    """The keys that may stand at that place of a recipe."""
    model: type[BaseModel] | None = Recipe
    annotation: Any = Recipe
    node = tree
    for part in location:
        node = _child(node, part)
        if model is not None and part in model.model_fields:
            field = model.model_fields[str(part)]
            annotation = (field.annotation, field.metadata)
        model = _model_of(annotation, node)
    return list(model.model_fields) + (["kind"] if model and hasattr(model, "kind") else []) if model else []


def _child(node: Any, part: str | int) -> Any:
    try:
        return node[part]
    except (KeyError, IndexError, TypeError):
        return None


def _model_of(annotation: Any, node: Any) -> type[BaseModel] | None:
    """The model that an annotation asks for, seen through optional, tuple, dict and room."""
    stack = [annotation]
    while stack:
        at = stack.pop()
        if isinstance(at, Room):
            kind = node if isinstance(node, str) else (node or {}).get("kind") if isinstance(node, dict) else None
            try:
                return find(at.package, str(kind))
            except LookupError:
                continue
        if isinstance(at, type) and issubclass(at, BaseModel) and at.__name__ not in _ABSTRACT:
            return at
        stack.extend(at if isinstance(at, tuple | list) else get_args(at))
        stack.extend(getattr(at, "__metadata__", ()))
    return None


_ABSTRACT = {"Corpus", "Order", "ModelSource", "Term", "Component"}


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as YAML, as short as it can be said."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    out = StringIO()
    yaml.dump(_shorten(recipe.model_dump(mode="json"), recipe.model_dump(mode="json", exclude_defaults=True)), out)
    return out.getvalue()
