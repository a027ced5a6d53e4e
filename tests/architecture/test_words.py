"""Names say what a thing is, types say what it can be, and the formatter decides how it stands."""

import ast
import contextlib
import io
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.architecture.sources import ROOT, TOP, Sources, package_sources, parsed, room_of

FORMATTED = [path for folder in ("src", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]

ANY = {
    TOP: 1,
    "analyses": 39,
    "core": 40,
    "integrations": 248,
    "looking": 26,
    "measures": 6,
    "models": 17,
    "optimizers": 4,
    "report": 13,
    "runs": 18,
    "store": 15,
    "train": 9,
    "verbs": 8,
}
"""Most uses of `Any`, by room. It stands where a type cannot be said; lower a number when it falls, never raise one."""

VAGUE = ("one", "found")
"""Local names that say nothing of the thing that they are bound to."""
VAGUE_NAMES = {"analyses": 1, "integrations": 273, "runs": 1}
"""Most bindings of such names, by room. Lower a number when it falls, never raise one."""


def escapes(source: str) -> list[int]:
    """Lines with a comment that switches the formatter off."""
    comments = (token for token in tokenize.generate_tokens(io.StringIO(source).readline))
    return [
        token.start[0]
        for token in comments
        if token.type == tokenize.COMMENT and token.string.replace(" ", "").startswith(("#fmt:", "#yapf:"))
    ]


def test_the_formatter_decides() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in FORMATTED}
    assert len(texts) > 500
    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if "fmt" in text and escapes(text)] == []


def test_switched_off_formatting_is_found() -> None:
    assert escapes("x = 1  # fmt: skip\n# fmt: off\ny = '# fmt: skip'\n#fmt:skip\n# format\n") == [1, 2, 4]


def uses_of_any(tree: ast.Module) -> int:
    """How often the name `Any` stands in the code, in annotations that are strings, too; imports do not count."""
    in_code = sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))
    return in_code + sum(uses_of_any(quoted) for quoted in _quoted_annotations(tree))


def _quoted_annotations(tree: ast.Module) -> Iterator[ast.Module]:
    for node in ast.walk(tree):
        annotations = [getattr(node, field, None) for field in ("annotation", "returns")]
        for annotation in [part for part in annotations if isinstance(part, ast.AST)]:
            for part in ast.walk(annotation):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) and "Any" in part.value:
                    with contextlib.suppress(SyntaxError):  # a help text in Annotated, say
                        yield ast.parse(part.value)


def vague_bindings(tree: ast.Module) -> int:
    """How often a vague name is bound: assigned, looped over, or taken as an argument."""
    return sum(
        (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE)
        or (isinstance(node, ast.arg) and node.arg in VAGUE)
        for node in ast.walk(tree)
    )


def by_room(sources: Sources, count: Callable[[ast.Module], int]) -> Counter[str]:
    """A count of each file, added up over rooms."""
    totals: Counter[str] = Counter()
    for path, source in sources.items():
        totals[room_of(path)] += count(parsed(source))
    return totals


def above(counts: Counter[str], ceilings: dict[str, int]) -> dict[str, str]:
    """Rooms with more than their ceiling; a room that is not in the table may have none."""
    return {
        room: f"{count}, at most {ceilings.get(room, 0)}"
        for room, count in sorted(counts.items())
        if count > ceilings.get(room, 0)
    }


def test_any_becomes_no_more() -> None:
    assert above(by_room(package_sources(), uses_of_any), ANY) == {}


def test_vague_names_become_no_more() -> None:
    assert above(by_room(package_sources(), vague_bindings), VAGUE_NAMES) == {}


@pytest.mark.parametrize("ceilings", [ANY, VAGUE_NAMES])
def test_the_tables_name_rooms_that_there_are(ceilings: dict[str, int]) -> None:
    assert set(ceilings) <= {room_of(path) for path in package_sources()}


def test_uses_of_any_are_counted() -> None:
    """In x, in y twice, in the quoted one, in the cast; not in the import, the texts and Anyone."""
    source = '''
from typing import Any
def f(x: Any, y: dict[Any, Any], z: "list[Any] | None", w: Annotated[Anyone, "Any of them"]) -> None:
    """Any."""
    return cast(Any, x)
'''
    assert uses_of_any(ast.parse(source)) == 5


def test_vague_names_are_counted() -> None:
    """As a loop's, a comprehension's, an assignment's and an argument's; not where they are read."""
    source = """
def f(one):
    for found in one: pass
    found = [one for one in found]
    one.found = 1
"""
    assert vague_bindings(ast.parse(source)) == 4


def test_a_room_above_its_ceiling_is_found() -> None:
    planted = {"a/x.py": "one = 1", "a/b/y.py": "one = found = 2", "c.py": "one = 3", "d/z.py": "two = 4"}
    counts = by_room(planted, vague_bindings)
    assert counts == {"a": 3, TOP: 1, "d": 0}
    assert above(counts, {"a": 2, TOP: 1}) == {"a": "3, at most 2"}
    assert above(counts, {"a": 3}) == {TOP: "1, at most 0"}
