"""The form of a recipe: the model or type of the value at each of its keys."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel

from ontogeny.core.kinds import Room, find


def form_below(form: object, node: object, part: str | int) -> object:
    """The form of a model's field, a dict's value or a tuple's entry. Raises LookupError for an unknown key or kind."""
    model = model_of(form, node)
    if model is not None:
        field = model.model_fields[str(part)]
        return (field.annotation, *field.metadata)
    containers = [choice for choice in choices(form) if get_origin(choice) in (dict, tuple)]
    return get_args(containers[0])[1 if isinstance(part, str) else 0] if containers else None


def model_of(form: object, node: object) -> type[BaseModel] | None:
    """The model that reads `node`: the one that its kind names, or the one in the form. Raises LookupError."""
    for choice in choices(form):
        if isinstance(choice, Room):
            return find(choice.package, str(choice.kind_of(node)))
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


def choices(form: object) -> Iterator[object]:
    """The alternatives of a form: members of unions and of Annotated, its metadata first."""
    if isinstance(form, tuple):
        for part in reversed(form):
            yield from choices(part)
    elif get_origin(form) in (Annotated, Union, UnionType):
        yield from choices(get_args(form))
    else:
        yield form
