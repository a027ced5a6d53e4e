"""Every shipped recipe keeps its two hashes: they name run directories, and find the runs that can be reused.

A hash that must change is changed in the file by hand, and said in CHANGELOG.
"""

import json
from pathlib import Path

import pytest

from ontogeny.core.recipe_file import load_recipe, shipped_recipes

HASHES = json.loads(Path(__file__).with_name("recipe_hashes.json").read_text(encoding="utf-8"))
"""Of each shipped recipe: recipe_hash and train_hash, as they were when every file still held the whole recipe."""


def test_every_shipped_recipe_has_its_hashes_here() -> None:
    assert sorted(HASHES) == shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_hashes_stay(name: str) -> None:
    recipe = load_recipe(name)
    assert [recipe.recipe_hash, recipe.train_hash] == HASHES[name]
