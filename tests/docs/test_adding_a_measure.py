"""The page's code is complete: it is taken from there, and run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontogeny.core import kinds
from ontogeny.core.recipe_file import validate_component
from ontogeny.core.yaml_tree import read_yaml
from tests.docs.pages import DOCS, in_place, run_tests

PAGE = (DOCS / "adding_a_measure.md").read_text(encoding="utf-8")


@pytest.fixture
def measure_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with in_place(PAGE, "measures", "surprise", tmp_path, monkeypatch):
        yield


@pytest.mark.usefixtures("measure_in_place")
def test_the_pages_test_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tests(PAGE, "measures", "surprise", tmp_path, monkeypatch) == 2


@pytest.mark.usefixtures("measure_in_place")
def test_the_pages_recipe_is_valid() -> None:
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text
    measures = [validate_component("ontogeny.measures", tree) for tree in read_yaml(text[1], "page")[0]["measures"]]
    assert [measure.group for measure in measures] == ["evaluation", "surprise", "shock"]
    assert measures[1].threshold_nats == 5.0


def test_without_the_file_there_is_no_such_kind() -> None:
    assert "surprise" not in kinds.kinds_of("ontogeny.measures")
