"""How the recipes of runs differ: what makes them one configuration, and which settings tell configurations apart."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ontogeny.core.analyses import RecordedRun

_SEED = "train.seed="
_BASE = "model.base."
"""Before the settings of the run that a model starts from; a sweep calls them base.KEY."""
MOST_CHARACTERS = 48
"""Of a label made of settings; beyond, runs are called by their names."""


def seed_of(run: "RecordedRun") -> int:
    """The seed that weights, order and dropout were drawn from."""
    return int((run.recipe.get("train") or {}).get("seed") or 0)


def all_seeds_of(run: "RecordedRun") -> str:
    """The run's seed, and the one that its recipe gives the run it starts from."""
    sources = {"base": run.recipe.get("model") or {}, **(run.recipe.get("companions") or {})}
    seeds = [str(seed_of(run))]
    for name, source in sources.items():
        overrides = map(str, source.get("overrides") or ())
        seeds += [f"{name} {text.partition('=')[2]}" for text in overrides if text.startswith(_SEED)]
    return ", ".join(seeds)


def without_seeds(run: "RecordedRun") -> dict[str, Any]:
    """The recipe without what may differ between seeds of one configuration: name, description, seeds."""
    content = {key: value for key, value in run.recipe.items() if key not in ("name", "about")}
    if isinstance(content.get("train"), Mapping):
        content["train"] = {key: value for key, value in content["train"].items() if key != "seed"}
    if isinstance(content.get("model"), Mapping):
        model = dict(content["model"])
        overrides = [text for text in model.pop("overrides", None) or () if not str(text).startswith(_SEED)]
        base = dict(str(text).partition("=")[::2] for text in overrides)
        content["model"] = {**model, "base": base} if base else model
    if isinstance(content.get("companions"), Mapping):
        content["companions"] = {name: _without_seed(source) for name, source in content["companions"].items()}
    return content


def _without_seed(source: Mapping[str, Any]) -> dict[str, Any]:
    """A source of models without the seed that its overrides give the run it comes from."""
    kept = [text for text in source.get("overrides") or () if not str(text).startswith(_SEED)]
    return {**source, "overrides": kept}


def labels(configurations: "Sequence[Sequence[RecordedRun]]") -> list[str]:
    """A short, unique label per configuration: what differs between their recipes, else the run's name."""
    names = [
        runs[0].name if len(runs) == 1 else str(runs[0].recipe.get("name", runs[0].name)) for runs in configurations
    ]
    if len(configurations) == 1:
        return names
    recipes = [dict(_flatten(without_seeds(runs[0]), "")) for runs in configurations]
    differing = _differing(recipes)
    made = [", ".join(f"{_short(key)} {recipe.get(key)}" for key in differing if key in recipe) for recipe in recipes]
    usable = 0 < len(differing) <= 3 and len(set(made)) == len(made) and all(made)
    if not usable or max(map(len, made)) > MOST_CHARACTERS:
        made = names
    repeated = {label for label in made if made.count(label) > 1}
    return [f"{label} ({i + 1})" if label in repeated else label for i, label in enumerate(made)]


def levels(
    configurations: "Sequence[Sequence[RecordedRun]]",
) -> tuple[list[dict[str, str]], dict[str, tuple[str, ...]]]:
    """Each configuration's value of every setting that differs, and the settings that cannot be separated from these.

    A setting that changes only when another one does (`checkpoints.every_steps` beside `train.steps`; the kind of a
    term beside its weight) is no factor of its own: it is listed under the other one, which is the one of more levels,
    else the first in the recipe. Values as in the recipe; "none" where a recipe lacks the key.
    """
    recipes = [
        {_name(key): _text(value) for key, value in _flatten(without_seeds(runs[0]), "")} for runs in configurations
    ]
    columns = {key: tuple(recipe.get(key, "none") for recipe in recipes) for key in _differing(recipes)}
    inseparable: dict[str, list[str]] = {}
    for key in sorted(columns, key=lambda name: -len(set(columns[name]))):
        leader = next((name for name in inseparable if _follows(columns[key], columns[name])), None)
        inseparable.setdefault(leader or key, []).extend([key] if leader else [])
    factors = [key for key in columns if key in inseparable]
    made = [{key: columns[key][i] for key in factors} for i in range(len(configurations))]
    return made, {key: tuple(inseparable[key]) for key in factors if inseparable[key]}


def _follows(values: Sequence[str], others: Sequence[str]) -> bool:
    """Is the one setting's value known from the other's?"""
    return len(set(zip(others, values, strict=True))) == len(set(others))


def _differing(recipes: Sequence[Mapping[str, object]]) -> list[str]:
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    return [key for key in keys if len({json.dumps(recipe.get(key), default=str) for recipe in recipes}) > 1]


def _name(key: str) -> str:
    return f"base.{key.removeprefix(_BASE)}" if key.startswith(_BASE) else key


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _short(key: str) -> str:
    """The last telling part of a dotted key: train.lr.value -> lr."""
    parts = [part for part in key.split(".") if part not in ("value", "kind")]
    return parts[-1] if parts else key


def _flatten(node: object, prefix: str) -> Iterator[tuple[str, object]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(node, list | tuple) and any(isinstance(item, Mapping) for item in node):
        for i, item in enumerate(node):
            yield from _flatten(item, f"{prefix}.{i}")
    else:
        yield prefix, node
