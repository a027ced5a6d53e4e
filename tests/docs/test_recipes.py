"""The page's example is a recipe, and its tables are those of the models."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ontogeny.core.recipe_file import load_recipe

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_recipe_keys", DOCS / "write_recipe_keys.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_is_a_recipe(tmp_path: Path) -> None:
    example = re.search(r"<!-- example -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert example
    path = tmp_path / "first.yaml"
    path.write_text(example[1])
    overrides = re.search(r"ontogeny run first.yaml (.*)", PAGE)
    assert overrides
    assert load_recipe(path, overrides[1].split()).name == "first"


def test_the_example_that_extends_it_says_what_its_comments_say(tmp_path: Path) -> None:
    for name, begin in (("first", "example"), ("second", "extending example")):
        example = re.search(rf"<!-- {begin} -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
        assert example
        (tmp_path / f"{name}.yaml").write_text(example[1])
    first, second = load_recipe(tmp_path / "first.yaml"), load_recipe(tmp_path / "second.yaml")
    assert first.train
    assert second.train
    assert second.model == first.model.model_copy(update={"size": "micro"})
    assert (second.train.steps, second.train.epochs) == (100, None)
    assert second.train.lr == first.train.lr.model_copy(update={"value": 1e-3})
    assert (second.checkpoints.steps, second.checkpoints.every_epochs) == ((0, 100), None)
    assert {name: take.count for name, take in second.data.probes.items()} == {"train": 8}
    assert [measure.group for measure in second.measures] == ["evaluation"]


def test_the_tables_are_up_to_date(writer: ModuleType) -> None:
    assert writer.page(PAGE) == PAGE, "run  make docs"


def test_every_key_and_kind_is_there(writer: ModuleType) -> None:
    for model in writer.BLOCKS.values():
        assert all(f"| `{key}` |" in PAGE for key in model.model_fields)
    for room, _ in writer.ROOMS.values():
        assert all(f"#### {kind}\n" in PAGE for kind in writer.kinds_of(room))
