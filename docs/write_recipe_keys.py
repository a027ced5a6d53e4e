"""Write the tables of docs/recipes.md from the models: ``make docs``. A test holds that they are up to date."""

import inspect
import json
from pathlib import Path
from typing import Any

from ontogeny.core.cached_targets import CachedTargets
from ontogeny.core.component import Component
from ontogeny.core.controls import Control
from ontogeny.core.corpora import Corpus
from ontogeny.core.interventions import Intervention
from ontogeny.core.kinds import find, kinds_of
from ontogeny.core.measures import StateMeasure, StreamMeasure
from ontogeny.core.model_sources import ModelSource
from ontogeny.core.optimizers import Optimizer
from ontogeny.core.orders import Order
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_data import Data, NewText, Replay, TokenizerSettings, Twins
from ontogeny.core.recipe_schema import recipe_schema
from ontogeny.core.recipe_train import Lora, Mixing, OnPolicy, Train
from ontogeny.core.schedule import Cadence, Schedule
from ontogeny.core.takes import Take
from ontogeny.core.terms import Term
from ontogeny.core.weightings import Weighting

PAGE = Path(__file__).with_name("recipes.md")
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"

BLOCKS = {
    "The recipe": Recipe,
    "data": Data,
    "data.train": NewText,
    "data.probes": Take,
    "data.replay": Replay,
    "data.twins": Twins,
    "tokenizer": TokenizerSettings,
    "train": Train,
    "train.mixing": Mixing,
    "train.on_policy": OnPolicy,
    "train.cached_targets": CachedTargets,
    "train.lora": Lora,
    "Schedules": Schedule,
    "Cadences": Cadence,
}
ROOMS: dict[str, tuple[str, type[Component]]] = {
    "Corpora": ("ontogeny.data.corpora", Corpus),
    "Orders": ("ontogeny.data.orders", Order),
    "Models": ("ontogeny.models.sources", ModelSource),
    "Terms": ("ontogeny.objectives.terms", Term),
    "Weightings": ("ontogeny.objectives.weightings", Weighting),
    "Measures": ("ontogeny.measures", StreamMeasure),
    "Optimizers": ("ontogeny.optimizers", Optimizer),
    "Controls": ("ontogeny.controls", Control),
    "Interventions": ("ontogeny.interventions", Intervention),
}
_COMMON = {
    "Terms": "Every term takes these.",
    "Controls": "Every control takes these.",
    "Interventions": "Every intervention takes these.",
    "Measures": "Every measure takes these; a state measure has no `probes` unless it is listed.",
}
_NAMES = {
    Take.__name__: "passages",
    NewText.__name__: "passages",
    Schedule.__name__: "schedule",
    Cadence.__name__: "cadence",
}


def tables() -> str:
    """All keys of a recipe, as Markdown."""
    parts = []
    schema = recipe_schema()
    for title, model in BLOCKS.items():
        parts.append(f"### {title}\n\n{_doc(model)}\n\n{_table(schema['$defs'][model.__name__])}")
    for title, (room, base) in ROOMS.items():
        parts.append(f"### {title}")
        if title in _COMMON:
            parts.append(f"{_COMMON[title]}\n\n{_table(base.model_json_schema())}")
        parts += [_kind(room, kind, base) for kind in kinds_of(room)]
    return "\n\n".join(parts)


def _kind(room: str, kind: str, base: type[Component]) -> str:
    cls = find(room, kind)
    common = (StateMeasure if issubclass(cls, StateMeasure) else base).model_json_schema().get("properties", {})
    schema = cls.model_json_schema()
    own = {key: value for key, value in schema.get("properties", {}).items() if value != common.get(key)}
    table = f"\n\n{_table({**schema, 'properties': own})}" if own else ""
    return f"#### {kind}\n\n{_doc(cls)}{table}"


def _doc(model: type) -> str:
    return inspect.cleandoc(model.__doc__ or "")


def _table(schema: dict[str, Any]) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for key, field in schema["properties"].items():
        default = "required" if key in schema.get("required", []) else _default(field)
        about = " ".join(field.get("description", "").split())
        rows.append(f"| `{key}` | {_type(field)} | {default} | {about} |")
    return "\n".join(rows)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if part is not None}
        value = value["value"] if value.get("shape") == "constant" else value
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def _type(field: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return _NAMES.get(name, "block")
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(option) for option in field["anyOf"] if option.get("type") != "null"))
    if "oneOf" in field:
        return "kind"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    match field.get("type"):
        case "array" if "prefixItems" in field:
            return f"[{', '.join(_type(item) for item in field['prefixItems'])}]"
        case "array":
            return f"list of {_type(field['items'])}"
        case "object":
            return f"name: {_type(next(iter(field['patternProperties'].values())))}"
        case "integer" | "number" as kind:
            return ("whole number" if kind == "integer" else "number") + _bounds(field)
        case "boolean":
            return "true, false"
    return "text"


def _bounds(field: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    return f" {', '.join(found)}" if found else ""


def page(text: str) -> str:
    """The page with its tables as they are now."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
