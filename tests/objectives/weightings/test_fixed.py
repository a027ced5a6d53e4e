from pathlib import Path

from ontogeny.core.recipe_file import validate
from ontogeny.objectives.weightings.fixed import Fixed
from tests.small_runs import tree


def test_a_recipe_without_a_weighting_is_fixed_and_its_hash_stays() -> None:
    """Written out or not, it is one recipe, and what a run records of it has no key of today."""
    plain, named = (validate(tree(Path("texts"), **said), "test") for said in ({}, {"weighting": "fixed"}))
    assert isinstance(plain.weighting, Fixed)
    assert plain.recipe_hash == named.recipe_hash
    assert "weighting" not in plain.as_json()
    assert Fixed().build(["next_token", "kd"]) is None
