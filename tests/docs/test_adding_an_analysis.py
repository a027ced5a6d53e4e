"""The page's code is complete: it is taken from there, and run."""

from pathlib import Path

import pytest

from ontogeny.core import kinds
from tests.docs.pages import DOCS, in_place, run_tests

PAGE = (DOCS / "adding_an_analysis.md").read_text(encoding="utf-8")


def test_the_pages_test_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_place(PAGE, "analyses", "lengths", tmp_path, monkeypatch):
        assert run_tests(PAGE, "analyses", "lengths", tmp_path, monkeypatch) == 2
        assert "lengths" in kinds.kinds_of("ontogeny.analyses")
