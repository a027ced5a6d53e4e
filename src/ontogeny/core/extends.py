"""`extends:` in a recipe file: the file's keys are laid over those of another recipe."""

from dataclasses import dataclass
from types import NoneType
from typing import Any

from ontogeny.core.overrides import opened, rivals
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_forms import choices, form_below, model_of
from ontogeny.core.yaml_tree import Location, Origins

_CHOOSE_A_FORM = {"kind": "adamw", "shape": None}
"""Keys that decide which other keys may stand beside them, of a component and of a schedule, and what holds where they
are left out: only an optimizer's kind may be, and a schedule without a shape takes any."""


def lay_over(tree: dict[str, Any], origins: Origins, own: dict[str, Any], own_origins: Origins) -> None:
    """Lay the keys of a file over the recipe that it extends, in place; `origins` then names the file of each key.

    Mappings merge key by key; lists and scalars replace. A mapping with another `kind` (or `shape`, of a schedule)
    replaces the whole. Of keys that exclude each other, such as train.steps and train.epochs, the file's replaces the
    others. Null clears what the extended recipe says: an entry of a mapping of names is gone, an optional key is at its
    default again, or null where null is a value.
    """
    _Overlay(origins, own_origins).merge(tree, own, (), Recipe)


@dataclass(frozen=True)
class _Overlay:
    origins: Origins
    own_origins: Origins

    def merge(self, tree: dict[str, Any], own: dict[str, Any], location: Location, form: Any) -> None:
        self.origins[location] = self.own_origins[location]
        for key, value in own.items():
            below = (*location, key)
            if value is None:
                if key in tree and _is_cleared(form, tree, key):
                    del tree[key]
                    self._forget(below)
                    continue
            else:
                for rival in rivals(below) - own.keys():
                    tree.pop(rival, None)
                    self._forget((*location, rival))
            merged = _mergeable(tree.get(key), value)
            if merged is None:
                tree[key] = value
                self._take(below)
            else:
                tree[key] = merged
                self.merge(merged, value, below, _form_below(form, tree, key))

    def _forget(self, location: Location) -> None:
        for place in [place for place in self.origins if place[: len(location)] == location]:
            del self.origins[place]

    def _take(self, location: Location) -> None:
        self._forget(location)
        own = {place: origin for place, origin in self.own_origins.items() if place[: len(location)] == location}
        self.origins.update(own)


def _mergeable(extended: Any, own: Any) -> dict[str, Any] | None:
    """What the extended recipe says as a mapping to lay `own` over; None where `own` replaces it."""
    if not isinstance(own, dict) or extended is None:
        return None
    mapping = opened(extended)
    if not isinstance(mapping, dict):
        return None
    for key, implicit in _CHOOSE_A_FORM.items():
        chosen = mapping.get(key, implicit)
        if isinstance(own.get(key), str) and mapping and chosen is not None and chosen != own[key]:
            return None
    return mapping


def _form_below(form: Any, tree: dict[str, Any], key: str) -> Any:
    try:
        return form_below(form, tree, key)
    except LookupError:  # an unknown key or kind, which validation refuses
        return None


def _is_cleared(form: Any, tree: dict[str, Any], key: str) -> bool:
    """Whether null removes the key. Where null is a value (train.clip), and where the key is required, null stays."""
    try:
        model = model_of(form, tree)
        field = model.model_fields[key] if model else None
    except LookupError:
        return False
    return field is None or not (field.is_required() or NoneType in choices(field.annotation))
