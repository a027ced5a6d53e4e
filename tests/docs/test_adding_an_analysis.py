"""The page's code is complete: it is taken from there, and run."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ontogeny.analyses
from ontogeny.core import kinds

PAGE = (Path(__file__).parents[2] / "docs" / "adding_an_analysis.md").read_text(encoding="utf-8")


def code(path: str) -> str:
    found = re.search(rf"<!-- file: {re.escape(path)} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"the page has no file {path}"
    return found[1]


def forget() -> None:
    kinds._modules.cache_clear()
    kinds.find.cache_clear()
    sys.modules.pop("ontogeny.analyses.lengths", None)


@pytest.fixture
def analysis_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's analysis, as if it lay among ours."""
    (tmp_path / "lengths.py").write_text(code("src/ontogeny/analyses/lengths.py"))
    monkeypatch.setattr(ontogeny.analyses, "__path__", [*ontogeny.analyses.__path__, str(tmp_path)])
    forget()
    yield
    forget()


@pytest.mark.usefixtures("analysis_in_place")
def test_the_pages_test_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_lengths_of_the_page.py").write_text(code("tests/analyses/test_lengths.py"))
    monkeypatch.syspath_prepend(tmp_path)
    tests = importlib.import_module("test_lengths_of_the_page")
    names = [name for name in vars(tests) if name.startswith("test_")]
    assert len(names) == 2
    for name in names:
        getattr(tests, name)()
    assert "lengths" in kinds.kinds_of("ontogeny.analyses")
