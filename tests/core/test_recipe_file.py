import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import (
    apply_overrides,
    dump_recipe,
    load_recipe,
    shipped_recipes,
    validate,
    validate_component,
)
from ontogeny.core.recipe_schema import recipe_schema
from ontogeny.core.yaml_tree import read_yaml
from tests.core.test_recipe import BASE

SHIPPED = shipped_recipes()


def test_there_are_shipped_recipes() -> None:
    assert "demo" in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_load_by_name(name: str) -> None:
    assert load_recipe(name) == load_recipe(name, ["train.seed=0"])
    assert load_recipe(name) != load_recipe(name, ["train.seed=7"])


@pytest.mark.parametrize("name", SHIPPED)
def test_dumped_recipes_load_as_equals(name: str, tmp_path: Path) -> None:
    overrides = [
        "train.lr={shape: piecewise, points: [[0, 1], [1, 0.5]]}",
        "train.lora={}",
        "checkpoints={steps: [1, 2]}",
    ]
    plain = load_recipe(name)
    if any(type(term).anchored for term in plain.objective):  # which hold the weights that adapters freeze
        overrides.append("objective=[next_token]")
    for recipe in (plain, load_recipe(name, overrides)):
        path = tmp_path / "again.yaml"
        path.write_text(dump_recipe(recipe))
        again = load_recipe(path)
        assert again == recipe
        assert (again.recipe_hash, again.train_hash) == (recipe.recipe_hash, recipe.train_hash)


def test_dumped_recipes_leave_defaults_out() -> None:
    tree = {**BASE, "measures": ["evaluation"], "train": {"steps": 3, "batch": 8, "lr": 1e-3}}
    written = read_yaml(dump_recipe(validate(tree, "here")), "here")[0]
    assert written["train"] == {"steps": 3}
    assert written["measures"] == ["evaluation"]
    assert written["data"]["corpora"] == {"prose": "python_prose", "code": "python_code"}
    assert list(written) == ["name", "data", "model", "train", "measures"]


def test_unknown_name_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe 'dmeo', neither shipped nor a file: did you mean 'demo'"):
        load_recipe("dmeo")
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: no such file"):
        load_recipe(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: a recipe is a mapping"),
        (b"- a", "line 1: a recipe is a mapping"),
        (b"name: \xff", "cannot be read as UTF-8"),
    ],
)
def test_files_that_are_no_recipes(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_directories_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(RecipeError, match=r"folder\.yaml: cannot be read"):
        load_recipe(tmp_path / "folder.yaml")


def test_plain_values_validate_under_a_name_of_their_own() -> None:
    with pytest.raises(RecipeError) as caught:
        validate({**BASE, "train": {"steps": "3"}}, "the recipe made from --text")
    assert str(caught.value) == "the recipe made from --text, key 'train.steps': expected a whole number, found '3'"


def test_overrides_of_plain_values_leave_the_original_alone() -> None:
    tree = {"train": {"steps": 3}}
    assert apply_overrides(tree, ["train.steps=4"]) == {"train": {"steps": 4}}
    assert tree == {"train": {"steps": 3}}


def test_a_component_alone() -> None:
    measure = validate_component("ontogeny.measures", {"kind": "token_nll", "probes": ["a"]})
    assert (measure.kind, measure.probes) == ("token_nll", ("a",))
    assert validate_component("ontogeny.measures", "token_nll").probes is None


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            {"kind": "token_nll", "probs": []},
            "measures 'token_nll', key 'probs': unknown key 'probs': did you mean 'probes'?",
        ),
        ({"kind": "token_nl"}, "measures 'token_nl': unknown kind 'token_nl' in measures: did you mean 'token_nll'?"),
    ],
)
def test_a_component_alone_with_a_fault(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        validate_component("ontogeny.measures", tree)
    assert str(caught.value) == message


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(recipe_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes_satisfy_the_schema(name: str, schema: jsonschema.Draft202012Validator) -> None:
    from importlib.resources import files

    tree = read_yaml((files("ontogeny") / "recipes" / f"{name}.yaml").read_text(), name)[0]
    assert [error.message for error in schema.iter_errors(tree)] == []
    written = load_recipe(name).as_json()
    assert [error.message for error in schema.iter_errors(written)] == []


@pytest.mark.parametrize(
    "override",
    [
        "train.sed=3",
        "train.steps='3'",
        "train.lr=fast",
        "model.kind=lader",
        "measures=[nothing]",
        "model.sizee=pico",
        "checkpoints={every: 3}",
    ],
)
def test_schema_and_model_refuse_the_same(override: str, schema: jsonschema.Draft202012Validator) -> None:
    tree = apply_overrides(BASE, [override])
    assert not schema.is_valid(tree)
    with pytest.raises(RecipeError):
        validate(tree, "here")


def test_schema_describes_every_kind(schema: jsonschema.Draft202012Validator) -> None:
    kinds = {option["title"] for option in schema.schema["$defs"]["Recipe"]["properties"]["measures"]["items"]["oneOf"]}
    assert {"evaluation", "token_nll", "weight_drift"} <= kinds


def test_recipe_made_in_python_is_the_recipe_of_the_file() -> None:
    assert Recipe.model_validate_json(json.dumps(BASE)) == validate(BASE, "here")


def test_what_can_be_no_path_is_no_recipe() -> None:
    """5,000 letters are more than a name may have (255), and a path cannot hold NUL."""
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(RecipeError, match="neither shipped nor a file"):
            load_recipe(name)
        with pytest.raises(RecipeError, match="cannot be read"):
            load_recipe(f"{name}.yaml")
