"""Find components by kind. A kind IS the name of a module in its room; third parties add entry points.

A room is a package such as `ontogeny.measures`. Third parties register modules of their own under the entry-point
group of the same name; the entry point's name must be the module's name.
"""

import importlib
import json
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from ontogeny.core.component import Component
from ontogeny.core.errors import closest


@cache
def kinds_of(room: str) -> tuple[str, ...]:
    """Names of all kinds in a room, sorted, without importing any of their modules."""
    package = importlib.import_module(room)
    own = {m.name for m in pkgutil.iter_modules(package.__path__) if not m.ispkg and not m.name.startswith("_")}
    return tuple(sorted(own | {point.name for point in entry_points(group=room)}))


@cache
def find(room: str, kind: str) -> type[Component]:
    """Import the module of that kind and return its component class.

    Raises LookupError, naming the closest kind, if the room has none of that name; TypeError if the module does not
    define exactly one component (a defect of the module, not of the recipe).
    """
    if kind not in kinds_of(room):
        raise LookupError(f"unknown kind '{kind}' in {room.rpartition('.')[2]}: {closest(kind, kinds_of(room))}")
    foreign = {point.name: point.value for point in entry_points(group=room)}
    module = importlib.import_module(foreign.get(kind, f"{room}.{kind}"))
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Component) and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define exactly one public Component, found {len(classes)}")
    return classes[0]


class Room:
    """Pydantic annotation: a field that holds a component of this room, written ``{kind: name, ...}``.

    A bare string stands for a component with no settings: ``measures: [token_nll]``.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def _validate(self, value: Any) -> Component:
        if isinstance(value, Component):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            known = ", ".join(kinds_of(self.package))
            raise PydanticCustomError("kind_missing", "write {reason}", {"reason": f"{{kind: NAME, ...}}, one of {known}"})
        settings = dict(value)
        try:
            cls = find(self.package, settings.pop("kind"))
        except LookupError as error:
            raise PydanticCustomError("kind_unknown", "{reason}", {"reason": str(error)}) from None
        return cls.model_validate_json(json.dumps(settings))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda c: c.model_dump(mode="json")),
        )

    def __get_pydantic_json_schema__(self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler) -> Any:
        options: list[dict[str, Any]] = []
        for kind in kinds_of(self.package):
            described = find(self.package, kind).model_json_schema(ref_template=f"#/$defs/{{model}}")
            described["properties"] = {"kind": {"const": kind}, **described.get("properties", {})}
            described["required"] = ["kind", *described.get("required", [])]
            described["title"] = kind
            options.append(described)
        return {"oneOf": [*options, {"enum": list(kinds_of(self.package)), "title": "kind alone"}]}
