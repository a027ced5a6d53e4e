"""The form of a recipe: which model or type describes the value at each of its keys."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from ontogeny.core.kinds import Room, find


def form_below(form: Any, node: Any, part: str | int) -> Any:
    """What a model's field, a dict's value or a tuple's entry must look like."""
    model = model_of(form, node)
    if model is not None:
        field = model.model_fields[str(part)]
        return (field.annotation, *field.metadata)
    containers = [choice for choice in choices(form) if get_origin(choice) in (dict, tuple)]
    return get_args(containers[0])[1 if isinstance(part, str) else 0] if containers else None


def model_of(form: Any, node: Any) -> type[BaseModel] | None:
    """The model that reads `node`: the one that its kind names, or the one that the form mentions."""
    for choice in choices(form):
        if isinstance(choice, Room):
            return find(choice.package, str(choice.kind_of(node)))
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def choices(form: Any) -> Iterator[Any]:
    """What a form may be, seen through unions and Annotated; the metadata of Annotated first."""
    if isinstance(form, tuple):
        for part in reversed(form):
            yield from choices(part)
    elif get_origin(form) in (Annotated, Union, UnionType):
        yield from choices(get_args(form))
    else:
        yield form
