"""Files seldom pass 400 lines, functions 60. When one does, it is two things."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "ontogeny"
FILES = sorted(SOURCE.rglob("*.py"))

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def long_functions(source: str, limit: int = 60) -> list[str]:
    """Name and length of every function with more lines than `limit`, signature and docstring included."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, FUNCTION)]
    lengths = {f"{node.name}, line {node.lineno}": (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return [f"{name}: {length} lines" for name, length in lengths.items() if length > limit]


def test_there_is_source() -> None:
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_length(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    assert long_functions(source) == []


def test_long_functions_are_found() -> None:
    body = "    x = 1\n"
    assert long_functions("def f():\n" + body * 59) == []
    assert long_functions("class C:\n    def f(self):\n" + f"    {body}" * 60) == ["f, line 2: 61 lines"]
