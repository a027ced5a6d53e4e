"""The project's Python files, parsed once, and the room that each is in."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ontogeny"
TOP = "(top)"
"""The room of modules directly in the package: the command line."""

Sources = dict[str, str]
"""Text by path, such as `measures/cloze.py`."""


@cache
def _read() -> tuple[tuple[str, str], ...]:
    return tuple(
        (path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    )


def package_sources() -> Sources:
    """Every file of the package."""
    return dict(_read())


def room_of(path: str) -> str:
    """The package directly below `ontogeny` in which a file lies; sub-packages count as inside."""
    room, slash, _ = path.partition("/")
    return room if slash else TOP


@cache
def parsed(source: str) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(source)
