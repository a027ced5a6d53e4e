"""The base classes of everything in a recipe: strict settings, and components that are named by kind."""

from collections.abc import Mapping
from typing import ClassVar, Unpack

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer
from pydantic.functional_serializers import SerializerFunctionWrapHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

from ontogeny.core.json_types import Json, JsonObject


class Settings(BaseModel):
    """A block of a recipe: frozen, no unknown keys, no silent conversions ("3" is not a number, `true` is not 1).

    An attribute's docstring is its description in the JSON Schema. `protected_namespaces` is empty so that a field
    may be called `model`.
    """

    added_later: ClassVar[frozenset[str]] = frozenset()
    """Settings that an earlier version did not have: recorded, and counted in hashes, only where they are used, so that
    runs from before they existed compare with later ones."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    @property
    def unused(self) -> frozenset[str]:
        """Of the settings that came later those that stand at their default."""
        fields = type(self).model_fields
        defaults = {key: fields[key].get_default(call_default_factory=True) for key in self.added_later}
        return frozenset(key for key, default in defaults.items() if getattr(self, key) == default)


class Component(Settings):
    """One file, one frozen model: its fields are its configuration, its kind is its module's name.

    There is no registry: `kinds.find` imports the module when a recipe names it. Component modules import torch inside
    functions, so that recipes can be validated and described on a machine without it.
    """

    kind: ClassVar[str] = "component"

    def __init_subclass__(cls, **keywords: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**keywords)
        cls.kind = cls.__module__.rpartition(".")[2]

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        return {"kind": type(self).kind, **handler(self)}


def refusal(message: str, *location: str | int) -> ValidationError:
    """An error for a validator to raise if the fault lies at a key below the block that is being validated.

    `location` is the path from the block to the key, by which the message finds its line:
    ``raise refusal("names no split", "train", 0, "of")``.
    """
    fault = PydanticCustomError("refused", "{message}", {"message": message})
    return ValidationError.from_exception_data("recipe", [InitErrorDetails(type=fault, loc=location, input=None)])


def leave_out_unused(settings: object, plain: Json) -> None:
    """Take settings that came later and stand at their default out of `plain`, the plain values of `settings`.

    Settings that are written in a short form (a schedule as a number) are left as they are.
    """
    if isinstance(settings, Settings) and isinstance(plain, dict):
        for key in settings.unused:
            plain.pop(key, None)
        for key in type(settings).model_fields.keys() & plain.keys():
            leave_out_unused(getattr(settings, key), plain[key])
    elif isinstance(settings, Mapping) and isinstance(plain, dict):
        for key, value in settings.items():
            leave_out_unused(value, plain[key])
    elif isinstance(settings, list | tuple) and isinstance(plain, list):
        for value, plain_value in zip(settings, plain, strict=True):
            leave_out_unused(value, plain_value)
