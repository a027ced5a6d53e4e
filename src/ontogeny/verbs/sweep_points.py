"""The runs that a sweep consists of: every combination of some settings, of one recipe or of several, with seeds."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.core.overrides import BASE
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe, shipped_recipes
from ontogeny.runs.execute import run_path

ARM = "recipe"
"""The setting that tells the recipes of a folder apart; its levels are the names of their files."""
_SEEDS = {"train.seed": "--seeds N", f"{BASE}.train.seed": "--base-seeds"}
"""Keys that cannot be varied, and the option to use instead."""
_JUDGED_BY = (*(f"data.{key}" for key in ("corpora", "splits", "split_seed", "length", "probes")), "tokenizer")
"""Keys that decide which passages a run is judged by."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep."""

    sweep: str
    """What the sweep is called: as its recipe, or as the folder of its recipes."""
    levels: dict[str, str]
    """Value of each setting that is varied; of several recipes, which one it is (`ARM`)."""
    seed: int
    source: str
    """The recipe by name or path."""
    recipe: Recipe
    overrides: tuple[str, ...]
    run: Path


def points_of(
    recipe: str, overrides: Sequence[str], vary: Sequence[str], seeds: int, runs_dir: Path, base_seeds: bool = False
) -> list[Point]:
    """All combinations, seed by seed.

    `recipe`: a recipe by name or path, or a folder of recipes (`recipes_of`), each of which is then a level of `ARM`.
    `base_seeds`: the run that a model starts from is trained with the same seed, so that seeds vary both models.
    Raises OntogenyError for a `vary` that is not KEY=VALUE,VALUE, for two points that are the same run, and for recipes
    that are not judged by the same passages.
    """
    recipes, factors = recipes_of(recipe), _factors(vary)
    points = []
    for seed in range(seeds):
        of_seed = [f"train.seed={seed}", *([f"{BASE}.train.seed={seed}"] if base_seeds else [])]
        for arm, cell in product(recipes, product(*factors.values())):
            varied = dict(zip(factors, cell, strict=True))
            of_point = (*overrides, *(f"{key}={value}" for key, value in varied.items()), *of_seed)
            loaded = load_recipe(recipes[arm], of_point)
            points.append(
                Point(
                    sweep=_folder_name(recipe) if arm else loaded.name,
                    levels={**({ARM: arm} if arm else {}), **varied},
                    seed=seed,
                    source=recipes[arm],
                    recipe=loaded,
                    overrides=of_point,
                    run=run_path(loaded, runs_dir),
                )
            )
    _require_different(points)
    _require_equal_passages(points)
    return points


def recipes_of(recipe: str) -> dict[str, str]:
    """Recipes as `load_recipe` takes them, by the names of their files; of a single one the name is empty.

    A folder, by path or of shipped recipes by name, stands for the recipes that lie in it directly, in order of their
    names: the first is what the others are compared with. Raises OntogenyError for a folder without any.
    """
    shipped = shipped_recipes()
    if recipe in shipped or os.path.isfile(recipe):
        return {"": recipe}
    is_folder = os.path.isdir(recipe)  # False, too, for what can be no path: of Path, it raises OSError
    if is_folder and (files := sorted(Path(recipe).glob("*.yaml"))):
        return {path.stem: str(path) for path in files}
    prefix = f"{recipe.rstrip('/')}/"
    names = [name for name in shipped if name.startswith(prefix) and "/" not in name[len(prefix) :]]
    if is_folder and not names:
        raise OntogenyError(f"{recipe} holds no recipe (*.yaml): name a recipe, or a folder with one for each arm")
    return {name[len(prefix) :]: name for name in names} or {"": recipe}


def _folder_name(folder: str) -> str:
    """Its last two parts, as a name: runs/mine/arms and mine/arms are mine-arms."""
    return "-".join(Path(os.path.abspath(folder) if os.path.isdir(folder) else folder).parts[-2:])


def _factors(vary: Sequence[str]) -> dict[str, list[str]]:
    """Values of each setting that is varied."""
    factors: dict[str, list[str]] = {}
    for setting in vary:
        key, equals, text = setting.partition("=")
        values = split_values(text)
        if not equals or not key or not all(values):
            raise OntogenyError(f"--vary {setting}: write KEY=VALUE,VALUE, for instance  train.lr=0.001,0.003")
        if key in _SEEDS or key in factors:
            raise OntogenyError(f"--vary {key}: " + (f"say {_SEEDS[key]}" if key in _SEEDS else "it is varied twice"))
        factors[key] = values
    return factors


def words(point: Point) -> str:
    """What tells a point from the others."""
    return "  ".join([*(f"{key}={value}" for key, value in point.levels.items()), f"seed {point.seed}"])


def _require_different(points: Sequence[Point]) -> None:
    by_run: dict[Path, Point] = {}
    for point in points:
        other = by_run.setdefault(point.run, point)
        if other is not point:
            raise OntogenyError(
                f"two points of the sweep are the same run, ({words(other)}) and ({words(point)}): leave one out; a "
                "value is listed twice, or changes nothing"
            )


def _require_equal_passages(points: Sequence[Point]) -> None:
    """Raise OntogenyError where recipes of a folder differ in what decides the passages that they are judged by."""
    first = points[0]
    for point in points if ARM in first.levels else ():
        for key in _JUDGED_BY:
            if _at(point.recipe, key) != _at(first.recipe, key):
                raise OntogenyError(
                    f"{point.source} has another {key} than {first.source}, so their losses are of other passages: "
                    "write the same in both, or sweep them apart"
                )


def _at(recipe: Recipe, key: str) -> object:
    """What stands at a dotted key of the recipe."""
    value: object = recipe.as_json()
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def split_values(text: str) -> list[str]:
    """Values between commas; not at commas inside brackets, braces and quotes: ``[],[{kind: x, a: 1}]`` is two values.

    Raises OntogenyError for a bracket or quote that is not closed.
    """
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
            if character == "," and depth == 0:
                values.append("")
                continue
        values[-1] += character
    if depth or quote:
        raise OntogenyError(f"--vary: a bracket or quote is not closed in  {text}")
    return [value.strip() for value in values]
