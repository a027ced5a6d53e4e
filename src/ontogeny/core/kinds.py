"""Find components by kind: the name of a module in its room, or of an entry point.

A room is a package such as `ontogeny.measures`. Third parties register their modules under the entry-point group of the
same name; the entry point's name must be the module's name. A built-in kind cannot be replaced.
"""

import importlib
import json
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeGuard

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from ontogeny.core.component import Component
from ontogeny.core.errors import closest
from ontogeny.core.json_types import JsonTree


@cache
def _modules(room: str) -> dict[str, str]:
    """By kind, in sorted order: the full name of its module. Imports none of them."""
    package = importlib.import_module(room)
    modules = {point.name: point.value for point in entry_points(group=room)}
    for module in pkgutil.iter_modules(package.__path__):
        if not module.ispkg and not module.name.startswith("_"):
            modules[module.name] = f"{room}.{module.name}"
    return dict(sorted(modules.items()))


def kinds_of(room: str) -> tuple[str, ...]:
    """Names of all kinds in a room, sorted. Imports none of their modules."""
    return tuple(_modules(room))


@cache
def find(room: str, kind: str) -> type[Component]:
    """Import the module of a kind and return its component class.

    Raises LookupError, naming the closest kind, if the room has no such kind; TypeError if the module does not
    define exactly one component (a defect of the module, not of the recipe).
    """
    if kind not in _modules(room):
        raise LookupError(f"unknown kind '{kind}' in {room.removeprefix('ontogeny.')}: {closest(kind, kinds_of(room))}")
    module = importlib.import_module(_modules(room)[kind])
    classes = [value for value in vars(module).values() if _is_component_of(value, module.__name__)]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define exactly one public Component, found {len(classes)}")
    return classes[0]


def _is_component_of(value: object, module: str) -> TypeGuard[type[Component]]:
    """Is it a public component class that the module defines itself?"""
    if not isinstance(value, type) or not issubclass(value, Component):
        return False
    return value.__module__ == module and not value.__name__.startswith("_")


class Room:
    """Pydantic annotation of a field that holds a component of this room, written ``{kind: name, ...}``.

    A bare string stands for a component with default settings, as in ``measures: [token_nll]``.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def make(self, value: object) -> Any:
        """The component that a recipe describes as `value`.

        Raises PydanticCustomError for an unknown or missing kind, ValidationError for wrong settings.
        """
        settings = {"kind": value} if isinstance(value, str) else value
        if not isinstance(settings, dict) or not isinstance(settings.get("kind"), str):
            reason = f"expected a kind ({', '.join(kinds_of(self.package))}), alone or as {{kind: NAME, …}}"
            raise PydanticCustomError("kind_missing", "{reason}", {"reason": reason})
        try:
            cls = find(self.package, settings["kind"])
        except LookupError as error:
            raise PydanticCustomError("kind_unknown", "{reason}", {"reason": str(error)}) from None
        return cls.model_validate_json(json.dumps({key: value for key, value in settings.items() if key != "kind"}))

    def __get_pydantic_core_schema__(
        self, source: type[Component], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        def validate(value: object) -> Component:
            component: Component = value if isinstance(value, source) else self.make(value)
            return component

        return core_schema.no_info_plain_validator_function(
            validate, serialization=core_schema.plain_serializer_function_ser_schema(_serialize, info_arg=True)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        options: list[JsonSchemaValue] = []
        alone: list[str] = []
        for kind in kinds_of(self.package):
            option = dict(handler.resolve_ref_schema(handler(find(self.package, kind).__pydantic_core_schema__)))
            if not option.get("required"):
                alone.append(kind)
            option["title"] = kind
            option["properties"] = {"kind": {"const": kind}, **option.get("properties", {})}
            option["required"] = ["kind", *option.get("required", [])]
            options.append(option)
        return {"oneOf": [*options, {"enum": alone, "title": "kind alone"}] if alone else options}


def _serialize(component: Component, info: core_schema.SerializationInfo) -> JsonTree:
    """A component as plain values; only its kind if all its settings are defaults and defaults are left out."""
    short = bool(info.exclude_defaults)
    values: dict[str, JsonTree] = component.model_dump(mode="json", exclude_defaults=short)
    return values["kind"] if short and len(values) == 1 else values
