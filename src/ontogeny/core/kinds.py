"""Find components by kind: the name of a module in its room, or of an entry point.

A room is a package such as `ontogeny.measures`. Third parties register their modules under the entry-point group of the
same name; the entry point's name must be the module's name. A built-in kind cannot be replaced.
"""

import importlib
import json
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
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


def module_of(room: str, kind: str) -> ModuleType:
    """Import the module of that kind. Raises LookupError, naming the closest kind, if the room has no such kind."""
    if kind not in _modules(room):
        raise LookupError(f"unknown kind '{kind}' in {room.removeprefix('ontogeny.')}: {closest(kind, kinds_of(room))}")
    return importlib.import_module(_modules(room)[kind])


@cache
def find(room: str, kind: str) -> type[Component]:
    """Import the module of a kind and return its component class.

    Raises LookupError, naming the closest kind, if the room has no such kind; TypeError if the module does not
    define exactly one component (a defect of the module, not of the recipe).
    """
    module = module_of(room, kind)
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

    A bare string stands for a component with no settings, ``measures: [token_nll]``; so may a field's default. With
    `default_kind`, settings without a kind are of that kind.
    """

    def __init__(self, package: str, default_kind: str | None = None) -> None:
        self.package = package
        self.default_kind = default_kind

    def kind_of(self, value: Any) -> str | None:
        """The kind of the component that a recipe describes as `value`; None if it says none."""
        kind = value.get("kind", self.default_kind) if isinstance(value, dict) else value
        return kind if isinstance(kind, str) else None

    def make(self, value: Any) -> Any:
        """The component that a recipe describes as `value`. Raises pydantic's errors."""
        kind = self.kind_of(value)
        if kind is None:
            reason = f"expected a kind ({', '.join(kinds_of(self.package))}), alone or as {{kind: NAME, …}}"
            raise PydanticCustomError("kind_missing", "{reason}", {"reason": reason})
        try:
            cls = find(self.package, kind)
        except LookupError as error:
            raise PydanticCustomError("kind_unknown", "{reason}", {"reason": str(error)}) from None
        settings = {} if isinstance(value, str) else {key: given for key, given in value.items() if key != "kind"}
        return cls.model_validate_json(json.dumps(settings))

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
            if kind != self.default_kind:
                option["required"] = ["kind", *option.get("required", [])]
            options.append(option)
        return {"oneOf": [*options, {"enum": alone, "title": "kind alone"}] if alone else options}


def _serialize(component: Component, info: core_schema.SerializationInfo) -> JsonTree:
    """A component as plain values; only its kind if all its settings are defaults and defaults are left out."""
    short = bool(info.exclude_defaults)
    values: dict[str, JsonTree] = component.model_dump(mode="json", exclude_defaults=short)
    return values["kind"] if short and len(values) == 1 else values
