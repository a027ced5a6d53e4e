"""The page's code is complete: it is taken from there, and run."""

from pathlib import Path

import pytest

from ontogeny.core import kinds
from tests.docs.pages import DOCS, in_place, run_tests

PAGE = (DOCS / "adding_an_analysis.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("room", "kind"), [("analyses", "lengths"), ("analyses.across", "overfitting")])
def test_the_pages_tests_pass(room: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_place(PAGE, room, kind, tmp_path, monkeypatch):
        assert run_tests(PAGE, room, kind, tmp_path, monkeypatch) == 2
        assert kind in kinds.kinds_of(f"ontogeny.{room}")
