"""JSON Schema of a recipe file, for editors."""

from typing import Any
from urllib.parse import quote

from ontogeny.core.recipe import Recipe

_DEFINITIONS = "#/$defs/"
_EXTENDING = "Extending"
"""Begins the names of the definitions that describe blocks of a file that extends another recipe."""


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, with every kind that is installed described.

    In a file that extends another recipe any key may be left out, or cleared with null.
    """
    whole = Recipe.model_json_schema()
    definitions = {**whole.pop("$defs"), "Recipe": whole}
    extending = {
        f"{_EXTENDING}{name}": _in_part(schema, f"{_DEFINITIONS}{name}") for name, schema in definitions.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": whole["title"],
        "$defs": {**definitions, **extending},
        "if": {"type": "object", "required": ["extends"]},
        "then": {"$ref": f"{_DEFINITIONS}{_EXTENDING}Recipe"},
        "else": {"$ref": f"{_DEFINITIONS}Recipe"},
    }


def _in_part(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """The schema of a value that is laid over another: a mapping in part, a list as a whole.

    `place` is where `schema` stands, as a JSON pointer.
    """
    if schema.get("type") == "array":
        return {"$ref": place}
    part = {key: value for key, value in schema.items() if key not in ("required", "minProperties", "oneOf")}
    if "$ref" in schema:
        part["$ref"] = schema["$ref"].replace(_DEFINITIONS, f"{_DEFINITIONS}{_EXTENDING}")
    for key in [key for key in ("properties", "patternProperties") if key in schema]:
        part[key] = {
            name: {"anyOf": [_in_part(value, f"{place}/{key}/{quote(name, safe='')}"), {"type": "null"}]}
            for name, value in schema[key].items()
        }
    for choice in [key for key in ("oneOf", "anyOf") if key in schema]:
        # Any of: a component without its kind may fit several.
        part["anyOf"] = [_in_part(option, f"{place}/{choice}/{i}") for i, option in enumerate(schema[choice])]
    return part
