"""Dotted overrides: ``train.seed=3``, ``measures.token_nll.probes=[train]``, ``train.lr.shape=cosine``.

``base.model.size=nano`` is an override of the recipe that the model starts from.
"""

from typing import Any

from ontogeny.core.errors import RecipeError, closest
from ontogeny.core.yaml_tree import Location, Origins, read_yaml

_LENGTHS = frozenset({"steps", "epochs", "tokens"})
_COUNTS = frozenset({"count", "at_most"})
_CADENCES = frozenset({"every_steps", "every_epochs", "log_spaced", "steps", "epochs"})
_ONE_OF: dict[tuple[str, ...], frozenset[str]] = {
    ("train",): _LENGTHS,
    ("data", "train", "*"): _COUNTS,
    ("data", "probes", "*"): _COUNTS,
    ("checkpoints",): _CADENCES,
    ("measures", "*", "at"): _CADENCES,
    ("at",): _CADENCES,  # of a measure alone
}
"""Where only one of several keys may stand."""

BASE = "base"
"""Begins the overrides of the recipe that the model starts from."""


def apply_override(tree: dict[str, Any], override: str, origins: Origins) -> None:
    """Set one value in the tree of a recipe, in place, and note where it came from.

    A place in a list is its number, or the kind or name of the component that stands there. A component written as a
    bare kind, and a schedule written as a number, become mappings when a key below them is set.
    Of keys that exclude each other, such as train.steps and train.epochs, the one that is set replaces the others.
    A key below `base` goes into `model.overrides`, in place of one that is there for the same key.
    Raises RecipeError with the override and what to write instead.
    """
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise RecipeError(f"override '{override}': write KEY=VALUE, for instance train.seed=3")
    if keys[0] == BASE and len(keys) > 1:
        _override_base(tree, override, origins)
        return
    value = _value(text, override)
    node: Any = tree
    location: Location = ()
    for key in keys[:-1]:
        at = _place(node, key, override)
        location = (*location, at)
        if isinstance(node, dict):
            node.setdefault(at, None)
        below = opened(node[at])
        if below is not node[at]:
            node[at] = below
            origins[location] = f"override {override}"
        node = below
        if not isinstance(node, dict | list):
            raise RecipeError(f"override {override}: '{key}' is {node!r}, and nothing can stand below that")
    at = _place(node, keys[-1], override)
    location = (*location, at)
    for old in [place for place in origins if place[: len(location)] == location]:
        del origins[old]
    origins[location] = f"override {override}"
    node[at] = value
    if value is not None:
        for rival in rivals(location):
            node.pop(rival, None)
            origins.pop((*location[:-1], rival), None)


def _override_base(tree: dict[str, Any], override: str, origins: Origins) -> None:
    """Note an override of the parent recipe with the model that starts from it."""
    model = tree.get("model")
    if not isinstance(model, dict) or not model.get("recipe"):
        raise RecipeError(
            f"override {override}: {BASE}.KEY is a key of the recipe that the model starts from, and this one starts "
            "from none: write  model: {kind: from_run, recipe: NAME}"
        )
    key, _, text = override.removeprefix(f"{BASE}.").partition("=")
    kept = [one for one in model.get("overrides") or () if str(one).partition("=")[0] != key]
    model["overrides"] = [*kept, f"{key}={text}"]
    origins[("model", "overrides")] = f"override {override}"


def rivals(location: Location) -> frozenset[str]:
    """The keys that setting this one replaces, by an override or in a recipe that extends another.

    Who sets train.steps wants that length *instead*: the epochs that are in the way may stand in a shipped recipe,
    or in one made from --text, where nobody wrote them.
    """
    *above, key = location
    for pattern, keys in _ONE_OF.items():
        here = len(pattern) == len(above) and all(map(lambda wanted, part: wanted in ("*", part), pattern, above))
        if here and key in keys:
            return keys - {str(key)}
    return frozenset()


def _value(text: str, override: str) -> Any:
    """What stands after the equals sign, as YAML; text that is no YAML (a glob, say) stands for itself."""
    try:
        return read_yaml(text, f"override {override}")[0] if text else ""
    except RecipeError:
        if text.lstrip()[:1] in ("[", "{"):
            raise
        return text


def opened(node: Any) -> Any:
    """A bare kind, a plain number or nothing as the mapping that it stands for."""
    if node is None:
        return {}
    if isinstance(node, str):
        return {"kind": node}
    return {"value": node} if isinstance(node, int | float) and not isinstance(node, bool) else node


def _place(node: Any, key: str, override: str) -> str | int:
    if isinstance(node, dict):
        return key
    named = [_name(item, i) for i, item in enumerate(node)]
    if key in named:
        return named.index(key)
    if key.isdecimal() and int(key) < len(node):
        return int(key)
    raise RecipeError(f"override {override}: the list holds no '{key}': {closest(key, named)}")


def _name(item: Any, number: int) -> str:
    if isinstance(item, str):
        return item
    return str(item.get("name") or item.get("kind") or number) if isinstance(item, dict) else str(number)
