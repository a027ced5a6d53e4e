"""The page's code is complete: it is taken from there, and run."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ontogeny.measures
from ontogeny.core import kinds
from ontogeny.core.recipe_file import validate_component
from ontogeny.core.yaml_tree import read_yaml

PAGE = (Path(__file__).parents[2] / "docs" / "adding_a_measure.md").read_text(encoding="utf-8")


def code(path: str) -> str:
    found = re.search(rf"<!-- file: {re.escape(path)} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"the page has no file {path}"
    return found[1]


def forget() -> None:
    kinds._modules.cache_clear()
    kinds.find.cache_clear()
    sys.modules.pop("ontogeny.measures.surprise", None)


@pytest.fixture
def measure_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's measure, as if it lay among ours."""
    (tmp_path / "surprise.py").write_text(code("src/ontogeny/measures/surprise.py"))
    monkeypatch.setattr(ontogeny.measures, "__path__", [*ontogeny.measures.__path__, str(tmp_path)])
    forget()
    yield
    forget()


@pytest.mark.usefixtures("measure_in_place")
def test_the_pages_test_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_surprise_of_the_page.py").write_text(code("tests/measures/test_surprise.py"))
    monkeypatch.syspath_prepend(tmp_path)
    tests = importlib.import_module("test_surprise_of_the_page")
    names = [name for name in vars(tests) if name.startswith("test_")]
    assert len(names) == 2
    for name in names:
        getattr(tests, name)()


@pytest.mark.usefixtures("measure_in_place")
def test_the_pages_recipe_is_valid() -> None:
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text
    measures = [validate_component("ontogeny.measures", tree) for tree in read_yaml(text[1], "page")[0]["measures"]]
    assert [measure.group for measure in measures] == ["evaluation", "surprise", "shock"]
    assert measures[1].threshold_nats == 5.0


def test_without_the_file_there_is_no_such_kind() -> None:
    assert "surprise" not in kinds.kinds_of("ontogeny.measures")
