"""The page's code is complete: it is taken from there, and run."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontogeny.core.recipe_file import validate_component
from ontogeny.core.yaml_tree import read_yaml
from tests.docs.pages import DOCS, in_place, run_tests

PAGE = (DOCS / "adding_a_term.md").read_text(encoding="utf-8")
ROOM = "objectives.terms"


@pytest.fixture(autouse=True)
def _term_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with in_place(PAGE, ROOM, "teacher_kl", tmp_path, monkeypatch):
        yield


def test_the_pages_tests_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_tests(PAGE, ROOM, "teacher_kl", tmp_path, monkeypatch) == 2


def test_the_pages_objective_is_valid() -> None:
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text
    tree = read_yaml(text[1], "page")[0]
    terms = [validate_component("ontogeny.objectives.terms", term) for term in tree["objective"]]
    assert [term.label for term in terms] == ["next_token", "teacher_kl"]
    assert terms[1].companions == tuple(tree["companions"])
