"""Dotted overrides: ``train.seed=3``, ``measures.token_nll.probes=[train]``, ``train.lr.shape=cosine``.

``base.model.size=nano`` overrides the recipe that the model starts from.
"""

from ontogeny.core.errors import RecipeError, closest
from ontogeny.core.json_types import JsonTree
from ontogeny.core.yaml_tree import Location, Origins, read_yaml

_LENGTHS = frozenset({"steps", "epochs", "tokens"})
_COUNTS = frozenset({"count", "at_most"})
_CADENCES = frozenset({"every_steps", "every_epochs", "log_spaced", "steps", "epochs"})
_EXCLUSIVE: dict[tuple[str, ...], frozenset[str]] = {
    ("train",): _LENGTHS,
    ("data", "train", "*"): _COUNTS,
    ("data", "probes", "*"): _COUNTS,
    ("checkpoints",): _CADENCES,
    ("measures", "*", "at"): _CADENCES,
    ("at",): _CADENCES,  # of a measure that is validated on its own
}
"""By location: keys of which only one may be given."""

BASE = "base"
"""First key of overrides of the recipe that the model starts from."""


def apply_override(tree: dict[str, JsonTree], override: str, origins: Origins) -> None:
    """Set one value in the tree of a recipe, in place, and record where it came from.

    An entry of a list is named by its number, or by the kind or name of the component there. A component written as a
    bare kind, and a schedule written as a number, become mappings when a key below them is set.
    Of keys that exclude each other, such as train.steps and train.epochs, the one that is set replaces the others.
    A key below `base` is added to `model.overrides`, where it replaces an override of the same key.
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
    node: dict[str, JsonTree] | list[JsonTree] = tree
    location: Location = ()
    for key in keys[:-1]:
        part = _resolve(node, key, override)
        location = (*location, part)
        before = _get(node, part)
        below = opened(before)
        if below is not before:
            _set(node, part, below)
            origins[location] = f"override {override}"
        if not isinstance(below, dict | list):
            raise RecipeError(f"override {override}: '{key}' is {below!r}, and nothing can stand below that")
        node = below
    part = _resolve(node, keys[-1], override)
    location = (*location, part)
    for replaced in [place for place in origins if place[: len(location)] == location]:
        del origins[replaced]
    origins[location] = f"override {override}"
    _set(node, part, value)
    if value is not None and isinstance(node, dict):
        for rival in rivals(location):
            node.pop(rival, None)
            origins.pop((*location[:-1], rival), None)


def _override_base(tree: dict[str, JsonTree], override: str, origins: Origins) -> None:
    """Add an override of the parent recipe to the model that starts from it."""
    model = tree.get("model")
    if not isinstance(model, dict) or not model.get("recipe"):
        raise RecipeError(
            f"override {override}: {BASE}.KEY is a key of the recipe that the model starts from, and this one starts "
            "from none: write  model: {kind: from_run, recipe: NAME}"
        )
    key, _, text = override.removeprefix(f"{BASE}.").partition("=")
    earlier = model.get("overrides") or []
    if not isinstance(earlier, list | tuple):
        return  # the recipe is invalid, and its validation says so
    kept = [other for other in earlier if str(other).partition("=")[0] != key]
    model["overrides"] = [*kept, f"{key}={text}"]
    origins[("model", "overrides")] = f"override {override}"


def rivals(location: Location) -> frozenset[str]:
    """The keys that setting this one replaces, by an override or in a recipe that extends another.

    Setting train.steps asks for that length *instead* of the epochs in the recipe, which may be a shipped one, or made
    from --text, so that the user never wrote them.
    """
    *above, key = location
    for pattern, keys in _EXCLUSIVE.items():
        matches = len(pattern) == len(above) and all(map(lambda name, part: name in ("*", part), pattern, above))
        if matches and key in keys:
            return keys - {str(key)}
    return frozenset()


def _value(text: str, override: str) -> JsonTree:
    """The value after the equals sign, read as YAML; text that is not YAML (a glob, say) is taken as it is."""
    try:
        return read_yaml(text, f"override {override}")[0] if text else ""
    except RecipeError:
        if text.lstrip()[:1] in ("[", "{"):
            raise
        return text


def opened(node: JsonTree) -> JsonTree:
    """A bare kind, a plain number or nothing as the mapping that it abbreviates."""
    if node is None:
        return {}
    if isinstance(node, str):
        return {"kind": node}
    return {"value": node} if isinstance(node, int | float) and not isinstance(node, bool) else node


def _get(node: dict[str, JsonTree] | list[JsonTree], part: str | int) -> JsonTree:
    """The value at a key or index; a key that is missing is added as null."""
    return node.setdefault(str(part), None) if isinstance(node, dict) else node[int(part)]


def _set(node: dict[str, JsonTree] | list[JsonTree], part: str | int, value: JsonTree) -> None:
    if isinstance(node, dict):
        node[str(part)] = value
    else:
        node[int(part)] = value


def _resolve(node: dict[str, JsonTree] | list[JsonTree], key: str, override: str) -> str | int:
    """The key of a mapping, or the index in a list of the entry that `key` names or numbers."""
    if isinstance(node, dict):
        return key
    names = [_name(item, i) for i, item in enumerate(node)]
    if key in names:
        return names.index(key)
    if key.isdecimal() and len(key) < 10 and int(key) < len(node):
        return int(key)
    raise RecipeError(f"override {override}: the list holds no '{key}': {closest(key, names)}")


def _name(item: JsonTree, number: int) -> str:
    if isinstance(item, str):
        return item
    return str(item.get("name") or item.get("kind") or number) if isinstance(item, dict) else str(number)
