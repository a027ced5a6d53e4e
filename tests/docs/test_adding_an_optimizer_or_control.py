"""The page's code is complete: it is taken from there, and run, killed and resumed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontogeny.core.recipe_file import validate
from ontogeny.core.yaml_tree import read_yaml
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.docs.pages import DOCS, in_place, run_tests
from tests.small_runs import differences, interrupt_and_resume, tree, write_text

PAGE = (DOCS / "adding_an_optimizer_or_control.md").read_text(encoding="utf-8")


@pytest.fixture
def both_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for room in ("optimizers", "controls"):
        (tmp_path / room).mkdir()
    with (
        in_place(PAGE, "optimizers", "lion", tmp_path / "optimizers", monkeypatch),
        in_place(PAGE, "controls", "drift_clip", tmp_path / "controls", monkeypatch),
    ):
        yield


@pytest.mark.usefixtures("both_in_place")
@pytest.mark.parametrize(("room", "kind"), [("optimizers", "lion"), ("controls", "drift_clip")])
def test_the_pages_tests_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str, kind: str) -> None:
    assert run_tests(PAGE, room, kind, tmp_path, monkeypatch) == 2


@pytest.mark.usefixtures("both_in_place")
@pytest.mark.slow
def test_the_pages_recipes_train_and_resume_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lion, drift_clip = (read_yaml(text, "page")[0] for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    content = tree(write_text(tmp_path / "words"), measures=["evaluation"])
    content["train"] = {"batch": 8} | lion["train"] | drift_clip["train"]
    recipe = validate(content, "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 10, monkeypatch)
    assert differences(whole, parts.path) == []
    norms = open_run(whole).series("drift_clip_norm", "train")
    assert norms["step"].tolist() == [0, 5, 10]
    assert norms["value"].iloc[0] == 1.0 > norms["value"].iloc[1]
