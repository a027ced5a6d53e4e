"""Pydantic's validation errors of a recipe, as lines that name file, line, key and remedy."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ontogeny.core.component import Component
from ontogeny.core.errors import closest
from ontogeny.core.json_types import Json
from ontogeny.core.names import PATTERNS
from ontogeny.core.printable import one_line
from ontogeny.core.recipe_forms import form_below, model_of
from ontogeny.core.yaml_tree import Location

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "string_type": "text",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entries",
    "tuple_type": "a list",
}


def explain(error: ValidationError, form: object, tree: Json, origins: Mapping[Location, str], where: str) -> str:
    """One line for each key at fault.

    `tree` was validated as `form` (a model or an annotated type); `origins` gives the place of its keys, `where` the
    name of the whole.
    """
    faults: dict[Location, list[ErrorDetails]] = {}
    for fault in error.errors(include_url=False):
        faults.setdefault(_existing(tree, fault["loc"]), []).append(fault)
    return "\n".join(
        one_line(f"{_head(location, origins, where)}: {_text(location, at_key, form, tree)}")
        for location, at_key in faults.items()
    )


def _head(location: Location, origins: Mapping[Location, str], where: str) -> str:
    origin = next((origins[location[:n]] for n in range(len(location), 0, -1) if location[:n] in origins), where)
    key = ".".join(map(str, location))
    return origin if not key or origin.startswith(f"override {key}=") else f"{origin}, key '{key}'"


def _existing(tree: Json, location: Location) -> Location:
    """The part of pydantic's location that exists in the recipe (unions add their branches, missing keys a name)."""
    kept: list[str | int] = []
    for part in location:
        if _holds(tree, part):
            tree = _at(tree, part)
            kept.append(part)
    return tuple(kept)


def _holds(tree: Json, part: str | int) -> bool:
    """Has a mapping this key, or a list this index?"""
    if isinstance(tree, list):
        return isinstance(part, int) and 0 <= part < len(tree)
    return isinstance(tree, dict) and part in tree


def _at(tree: Json, part: str | int) -> Json:
    """The value at a key or index that exists."""
    if isinstance(tree, dict):
        value: Json = tree[part]
        return value
    assert isinstance(tree, list | tuple)
    return tree[int(part)]


def _text(location: Location, faults: "list[ErrorDetails]", form: object, tree: Json) -> str:
    """The faults at one key, without its place."""
    missing = [str(fault["loc"][-1]) for fault in faults if fault["type"] == "missing"]
    if missing:
        return f"{' and '.join(_missing(part) for part in missing)} missing"
    fault = faults[0]
    if fault["type"] == "extra_forbidden":
        return f"unknown key '{location[-1]}': {closest(str(location[-1]), _fields_at(location[:-1], form, tree))}"
    if fault["type"] == "string_pattern_mismatch":
        pattern = fault["ctx"]["pattern"]
        return f"expected {PATTERNS.get(pattern, f'text that matches {pattern}')}, found {_describe(fault['input'])}"
    expected = [_EXPECTED[f["type"]].format(**f.get("ctx", {})) for f in faults if f["type"] in _EXPECTED]
    if not expected:
        text = fault["msg"].removeprefix("Value error, ")
        return f"{text}, found {_describe(fault['input'])}" if text.startswith("expected ") else text
    text = f"expected {' or '.join(dict.fromkeys(expected))}, found {_describe(fault['input'])}"
    if fault["type"] == "literal_error":
        near = closest(str(fault["input"]), re.findall(r"'([^']*)'", fault["ctx"]["expected"]))
        text += f": {near}" if near.startswith("did you mean") else ""
    return text


def _missing(part: str) -> str:
    return f"entry {int(part) + 1} is" if part.isdecimal() else f"'{part}' is"


def _describe(value: object) -> str:
    """A value of the recipe, in words."""
    match value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return f"a list of {len(value)}"
        case str():
            return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}…'"
    return json.dumps(value)


def _fields_at(location: Location, form: object, tree: Json) -> list[str]:
    """The keys that are allowed at a location, found by walking down form and recipe together."""
    for part in location:
        form, tree = form_below(form, tree, part), _at(tree, part)
    model = model_of(form, tree)
    fields = list(model.model_fields) if model else []
    return ["kind", *fields] if model and issubclass(model, Component) else fields
