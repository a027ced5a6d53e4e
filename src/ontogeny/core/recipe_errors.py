"""What pydantic found wrong with a recipe, said in lines that name file, line, key and remedy."""

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ontogeny.core.component import Component
from ontogeny.core.errors import closest
from ontogeny.core.names import PATTERNS
from ontogeny.core.recipe_forms import form_below, model_of
from ontogeny.core.yaml_tree import Location

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


def explain(error: ValidationError, form: Any, tree: Any, origins: Mapping[Location, str], where: str) -> str:
    """One line for each key at fault.

    `tree` is what was validated as `form` (a model or an annotated type), `origins` says where its keys stand, `where`
    what it is called as a whole.
    """
    faults: dict[Location, list[Any]] = {}
    for item in error.errors(include_url=False):
        faults.setdefault(_existing(tree, item["loc"]), []).append(item)
    return "\n".join(
        f"{_head(location, origins, where)}: {_text(location, items, form, tree)}" for location, items in faults.items()
    )


def _head(location: Location, origins: Mapping[Location, str], where: str) -> str:
    origin = next((origins[location[:n]] for n in range(len(location), 0, -1) if location[:n] in origins), where)
    key = ".".join(map(str, location))
    return origin if not key or origin.startswith(f"override {key}=") else f"{origin}, key '{key}'"


def _existing(tree: Any, location: Location) -> Location:
    """The part of pydantic's location that stands in the recipe (unions add their branches, missing keys a name)."""
    kept: list[str | int] = []
    for part in location:
        entries = dict(enumerate(tree)) if isinstance(tree, list) else tree
        if isinstance(entries, dict) and part in entries:
            tree = entries[part]
            kept.append(part)
    return tuple(kept)


def _text(location: Location, items: list[Any], form: Any, tree: Any) -> str:
    missing = [str(item["loc"][-1]) for item in items if item["type"] == "missing"]
    if missing:
        return f"{' and '.join(_missing(part) for part in missing)} missing"
    item = items[0]
    if item["type"] == "extra_forbidden":
        return f"unknown key '{location[-1]}': {closest(str(location[-1]), _fields_at(location[:-1], form, tree))}"
    if item["type"] == "string_pattern_mismatch":
        pattern = item["ctx"]["pattern"]
        return f"expected {PATTERNS.get(pattern, f'text that matches {pattern}')}, found {_found(item['input'])}"
    expected = [_EXPECTED[i["type"]].format(**i.get("ctx", {})) for i in items if i["type"] in _EXPECTED]
    if not expected:
        text = item["msg"].removeprefix("Value error, ")
        return f"{text}, found {_found(item['input'])}" if text.startswith("expected ") else text
    text = f"expected {' or '.join(dict.fromkeys(expected))}, found {_found(item['input'])}"
    if item["type"] == "literal_error":
        near = closest(str(item["input"]), re.findall(r"'([^']*)'", item["ctx"]["expected"]))
        text += f": {near}" if near.startswith("did you mean") else ""
    return text


def _missing(part: str) -> str:
    return f"entry {int(part) + 1} is" if part.isdecimal() else f"'{part}' is"


def _found(value: Any) -> str:
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


def _fields_at(location: Location, form: Any, tree: Any) -> list[str]:
    """The keys that may stand at a place of a recipe, found by walking down the forms with the recipe in hand."""
    for part in location:
        form, tree = form_below(form, tree, part), tree[part]
    here = model_of(form, tree)
    fields = list(here.model_fields) if here else []
    return ["kind", *fields] if here and issubclass(here, Component) else fields
