"""Pages of docs/ whose code is complete: taken from there, put in place, and run."""

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from pathlib import Path

import pytest

from ontogeny.core import kinds

DOCS = Path(__file__).parents[2] / "docs"


def code(page: str, path: str) -> str:
    """What a page says stands in a file."""
    found = re.search(rf"<!-- file: {re.escape(path)} -->\n```python\n(.*?)```", page, re.DOTALL)
    assert found, f"the page has no file {path}"
    return found[1]


@contextmanager
def in_place(page: str, room: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's component, as if it lay among ours."""
    package = importlib.import_module(f"ontogeny.{room}")
    (folder / f"{kind}.py").write_text(code(page, f"src/ontogeny/{room.replace('.', '/')}/{kind}.py"))
    with monkeypatch.context() as patch:
        patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        _forget(room, kind)
        yield
    _forget(room, kind)


def _forget(room: str, kind: str) -> None:
    kinds._modules.cache_clear()
    kinds.find.cache_clear()
    sys.modules.pop(f"ontogeny.{room}.{kind}", None)


def run_tests(page: str, room: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the tests that the page has for it; how many there were. A test with a parameter gets an empty folder."""
    beside = folder / "tests"  # not in `folder`, which is a part of the room
    beside.mkdir()
    (beside / f"test_{kind}_of_the_page.py").write_text(code(page, f"tests/{room.replace('.', '/')}/test_{kind}.py"))
    monkeypatch.syspath_prepend(beside)
    tests = importlib.import_module(f"test_{kind}_of_the_page")
    names = [name for name in vars(tests) if name.startswith("test_")]
    for name in names:
        test = getattr(tests, name)
        test(*([beside / name] if signature(test).parameters else []))
    return len(names)
