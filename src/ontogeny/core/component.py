"""The base of everything that a recipe can name by kind."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_serializer
from pydantic.functional_serializers import SerializerFunctionWrapHandler


class Component(BaseModel):
    """One file, one frozen model: its fields are its configuration, its kind is its module's name.

    There is no registry to edit. `kinds.find` imports the module when a recipe names it. Component modules import
    torch inside functions, so that recipes can be validated and described on a machine without it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    kind: ClassVar[str] = "component"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.kind = cls.__module__.rpartition(".")[2]

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"kind": type(self).kind, **handler(self)}
