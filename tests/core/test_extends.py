"""A recipe file that extends another: its keys hold, what it clears is gone, a fault names the file it stands in."""

import copy
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ontogeny.core.errors import RecipeError
from ontogeny.core.extends import lay_over
from ontogeny.core.recipe_file import dump_recipe, load_recipe, validate
from ontogeny.core.recipe_schema import recipe_schema
from ontogeny.core.yaml_tree import read_yaml
from tests.core.test_recipe import BASE

EXTENDED = """\
name: small
data:
  corpora:
    prose: {kind: python_prose}
    code: python_code
  train:
    - of: prose/train
  probes:
    train: {of: prose/train, at_most: 4}
    general: {of: code/novel, at_most: 4}
model: {kind: ladder, size: pico}
train:
  epochs: 3
  clip: 0.5
  lr: {shape: cosine, value: 3e-3, warmup: 0.1}
checkpoints: {every_epochs: 1}
measures: [evaluation, weight_drift]
"""


def merged(extended: str, own: str) -> Any:
    tree, origins = read_yaml(extended, "extended.yaml")
    lay_over(tree, origins, *read_yaml(own, "own.yaml"))
    return tree


@pytest.mark.parametrize(
    ("extended", "own", "expected"),
    [
        # mappings merge, lists and scalars replace
        ("train: {steps: 3, seed: 1}", "train: {seed: 2}", {"train": {"steps": 3, "seed": 2}}),
        ("measures: [a, b]", "measures: [c]", {"measures": ["c"]}),
        ("about: x", "name: y", {"about": "x", "name": "y"}),
        ("train: null", "train: {steps: 1}", {"train": {"steps": 1}}),
        # another kind, or shape, replaces the whole; the same one, or none, merges
        ("model: {kind: ladder, size: pico}", "model: {kind: tree}", {"model": {"kind": "tree"}}),
        ("model: {kind: ladder, size: pico}", "model: ladder", {"model": "ladder"}),
        (
            "model: {kind: ladder, size: pico}",
            "model: {kind: ladder, depth: 1}",
            {"model": {"kind": "ladder", "size": "pico", "depth": 1}},
        ),
        ("model: ladder", "model: {size: nano}", {"model": {"kind": "ladder", "size": "nano"}}),
        ("model: ladder", "model: {kind: tree}", {"model": {"kind": "tree"}}),
        (
            "train: {lr: {shape: cosine, value: 1, final: 0.1}}",
            "train: {lr: {shape: wsd, value: 2}}",
            {"train": {"lr": {"shape": "wsd", "value": 2}}},
        ),
        ("train: {lr: 0.1}", "train: {lr: {shape: cosine}}", {"train": {"lr": {"value": 0.1, "shape": "cosine"}}}),
        # of keys that exclude each other the extending file's stays; where it says both, validation refuses
        ("train: {epochs: 3}", "train: {steps: 5}", {"train": {"steps": 5}}),
        ("train: {epochs: 3}", "train: {steps: null}", {"train": {"epochs": 3, "steps": None}}),
        ("train: {epochs: 3}", "train: {epochs: 2, steps: 5}", {"train": {"epochs": 2, "steps": 5}}),
        ("checkpoints: {every_epochs: 1}", "checkpoints: {steps: [1]}", {"checkpoints": {"steps": [1]}}),
        (
            "data: {probes: {x: {of: a/b, at_most: 3}}}",
            "data: {probes: {x: {count: 5}}}",
            {"data": {"probes": {"x": {"of": "a/b", "count": 5}}}},
        ),
        # null: an entry of names is gone, an optional key is at its default, and is null where null is a value
        ("data: {corpora: {a: x, b: y}}", "data: {corpora: {a: null}}", {"data": {"corpora": {"b": "y"}}}),
        ("data: {length: 64, split_seed: 1}", "data: {length: null}", {"data": {"split_seed": 1}}),
        ("measures: [a]\nname: x", "measures: null", {"name": "x"}),
        ("train: {clip: 0.5}", "train: {clip: null}", {"train": {"clip": None}}),
        ("train: {steps: 5}", "train: null", {"train": None}),
        ("model: {kind: ladder, size: nano}", "model: {size: null}", {"model": {"kind": "ladder"}}),
        # and where nothing is to be cleared, or the key cannot be left out, it stays for validation to refuse
        ("data: {corpora: {a: x}}", "data: {corpora: {b: null}}", {"data": {"corpora": {"a": "x", "b": None}}}),
        ("name: x", "name: null", {"name": None}),
        ("unknown: {a: 1}", "unknown: {a: null}", {"unknown": {}}),
    ],
)
def test_laid_over_by_hand(extended: str, own: str, expected: dict[str, Any]) -> None:
    assert merged(extended, own) == expected


def test_origins_name_the_file_where_the_key_stands() -> None:
    tree, origins = read_yaml("model: {kind: a, b: 1}\ntrain:\n  epochs: 1\n  seed: 2\nmeasures: [x, y]", "low.yaml")
    lay_over(tree, origins, *read_yaml("train:\n  steps: 3\nmeasures: [z]\n", "own.yaml"))
    assert {".".join(map(str, place)): origin for place, origin in origins.items()} == {
        "": "own.yaml, line 1",
        "model": "low.yaml, line 1",
        "model.kind": "low.yaml, line 1",
        "model.b": "low.yaml, line 1",
        "train": "own.yaml, line 1",
        "train.steps": "own.yaml, line 2",
        "train.seed": "low.yaml, line 4",  # and train.epochs is gone
        "measures": "own.yaml, line 3",
        "measures.0": "own.yaml, line 3",  # and measures.1 is gone
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(EXTENDED)
    (tmp_path / "below").mkdir()
    return tmp_path


def fault(path: Path, own: str, *overrides: str) -> str:
    path.write_text(own)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_the_loaded_recipe_holds_the_whole_content(folder: Path) -> None:
    own = folder / "below" / "own.yaml"
    own.write_text("extends: ../small.yaml\nname: own\ntrain: {steps: 2, clip: null}\nmodel: {size: nano}\n")
    whole = folder / "whole.yaml"
    whole.write_text(
        EXTENDED.replace("name: small", "name: own")
        .replace("epochs: 3\n  clip: 0.5", "steps: 2\n  clip: null")
        .replace("pico", "nano")
    )
    loaded = load_recipe(own)
    assert loaded == load_recipe(whole)
    assert (loaded.recipe_hash, loaded.train_hash) == (load_recipe(whole).recipe_hash, load_recipe(whole).train_hash)
    assert "extends" not in dump_recipe(loaded)
    assert "extends" not in loaded.as_json()


def test_a_path_is_relative_to_the_file_and_a_name_is_a_shipped_recipe(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = folder / "own.yaml"
    own.write_text("extends: demo_base\ntrain: {seed: 7}\n")
    expected = load_recipe("demo_base", ["train.seed=7"])
    (folder / "below" / "demo_base").write_text("no recipe")
    monkeypatch.chdir(folder / "below")  # what lies in the present folder does not matter
    assert load_recipe(own) == expected
    (folder / "demo_base").write_text(EXTENDED)
    assert load_recipe(own).name == "small"


def test_overrides_come_last_and_chains_are_followed(folder: Path) -> None:
    (folder / "middle.yaml").write_text("extends: small.yaml\nname: middle\ntrain: {steps: 2, seed: 1}\n")
    own = folder / "own.yaml"
    own.write_text("extends: middle.yaml\ntrain: {seed: 2}\n")
    recipe = load_recipe(own, ["train.seed=3"])
    assert recipe.train
    assert (recipe.name, recipe.train.steps, recipe.train.seed) == ("middle", 2, 3)


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("train: {sed: 1}", "own.yaml, line 2, key 'train.sed': unknown key 'sed': did you mean 'seed'?"),
        ("train: {steps: x}", "own.yaml, line 2, key 'train.steps': expected a whole number, found 'x'"),
        ("data: {corpora: {prose: null}}", "small.yaml, line 7, key 'data.train.0.of': unknown corpus 'prose'"),
        ("data:\n  corpora: {cod: null}", "own.yaml, line 3, key 'data.corpora.cod': expected a kind"),
        ("train: {epochs: 1, steps: 2}", "own.yaml, line 2, key 'train': say exactly one of steps, epochs, tokens"),
        ("name: null", "own.yaml, line 2, key 'name': expected text, found nothing"),
        ("model: {kind: pretrained}", "own.yaml, line 2, key 'model': 'path' is missing"),
    ],
)
def test_faults_name_file_line_and_key(folder: Path, own: str, expected: str) -> None:
    found = fault(folder / "own.yaml", f"extends: small.yaml\n{own}\n")
    assert found.startswith(f"{folder}/{expected}")
    assert "\n" not in found


def test_a_fault_of_the_extended_file_names_that_file(folder: Path) -> None:
    (folder / "small.yaml").write_text(EXTENDED.replace("clip", "clp"))
    found = fault(folder / "own.yaml", "extends: small.yaml\nname: own\n")
    assert found == f"{folder}/small.yaml, line 14, key 'train.clp': unknown key 'clp': did you mean 'clip'?"
    (folder / "small.yaml").write_text("- a")
    assert fault(folder / "own.yaml", "extends: small.yaml\n").startswith(f"{folder}/small.yaml, line 1: a recipe is a")


@pytest.mark.parametrize(
    ("extends", "expected"),
    [
        ("dmeo", "no recipe 'dmeo', neither shipped nor a file: did you mean 'demo'?"),
        ("nowhere.yaml", "{folder}/nowhere.yaml: no such file"),
        ("3", "expected the name of a shipped recipe or a path, found 3"),
        ("[demo]", 'expected the name of a shipped recipe or a path, found ["demo"]'),
        ("own.yaml", "{folder}/own.yaml extends {folder}/own.yaml: a recipe cannot extend itself"),
    ],
)
def test_what_cannot_be_extended(folder: Path, extends: str, expected: str) -> None:
    found = fault(folder / "own.yaml", f"name: own\nextends: {extends}\n")
    assert found == f"{folder}/own.yaml, line 2, key 'extends': {expected.format(folder=folder)}"


def test_a_circle_is_one_line(folder: Path) -> None:
    (folder / "a.yaml").write_text("extends: below/b.yaml\n")
    (folder / "below" / "b.yaml").write_text("# b\nextends: ../a.yaml\n")
    found = fault(folder / "own.yaml", "extends: a.yaml\n")
    files = [folder / "own.yaml", folder / "a.yaml", folder / "below" / "b.yaml", folder / "below" / ".." / "a.yaml"]
    circle = " extends ".join(map(os.fspath, files))
    assert found == f"{files[2]}, line 2, key 'extends': {circle}: a recipe cannot extend itself"


def test_only_a_file_extends(folder: Path) -> None:
    message = "a recipe is extended by a file: write  extends: NAME  there"
    assert fault(folder / "own.yaml", EXTENDED, "extends=demo") == f"override extends=demo: {message}"
    with pytest.raises(RecipeError, match=f"here, key 'extends': {message}"):
        validate({**copy.deepcopy(BASE), "extends": "demo"}, "here")
    assert "unknown key 'extend': did you mean 'extends'?" in fault(folder / "own.yaml", f"extend: demo\n{EXTENDED}")


@pytest.fixture(scope="module")
def schema() -> Any:
    described = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(described)
    return jsonschema.Draft202012Validator(described)


@pytest.mark.parametrize(
    ("own", "valid"),
    [
        ("extends: demo", True),
        ("extends: demo\ntrain: {lr: {value: 0.1}}\ndata: {corpora: {code: null, prose: {limit_chars: 9}}}", True),
        ("extends: demo\ndata: {probes: {train: {count: 3}}}\nmodel: {size: nano}\ncheckpoints: null", True),
        ("extends: demo\ntrain: {sed: 1}", False),
        ("extends: demo\ndata: {probes: {train: {cont: 3}}}", False),
        ("extends: demo\ndata: {train: [{count: 3}]}", False),  # an entry of a list is whole
        ("extends: demo\nmeasures: [nothing]", False),
        ("extends: 3", False),
        ("name: alone", False),
    ],
)
def test_the_schema_describes_a_file_that_extends(own: str, valid: bool, schema: Any) -> None:
    assert schema.is_valid(read_yaml(own, "own")[0]) == valid
