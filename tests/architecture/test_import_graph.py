"""Imports make no circles, keep what is private inside its room, and keep torch away from what only reads."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache

import grimp
import pytest

from tests.architecture.sources import Sources, package_sources, parsed, room_of

AUDIT_CIRCLE = frozenset(
    f"ontogeny.integrations.audit.{name}"
    for name in ("adapting", "distilling", "freezing", "listeners", "recorder", "rereading", "rerunning")
)
"""The one circle that is allowed: the recorder starts listeners that are annotated with it. An issue of its own will
split the audit into events, watchers and a recording, and then this constant goes."""

TORCH_FREE = ("core", "statistics", "store", "analyses", "diagnosis", "report")
"""Rooms in which nothing imports torch, not even inside a function: a machine without it opens, analyses and shows."""
TORCH_FREE_MODULES = (
    "integrations.importers",
    "integrations.importing",
    "integrations.own_runs",
    "integrations.diagnosing",
)
HEAVY = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "peft")

Imports = Mapping[str, frozenset[str]]
"""Module -> the modules that it imports."""


@cache
def all_imports(*, annotations: bool) -> Imports:
    """Every import between modules of the package, and of packages outside; those inside functions, too.

    `annotations`: those under TYPE_CHECKING as well.
    """
    graph = grimp.build_graph(
        "ontogeny", include_external_packages=True, exclude_type_checking_imports=not annotations, cache_dir=None
    )
    return {module: frozenset(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def circles(imports: Imports) -> list[frozenset[str]]:
    """Sets of modules of which each reaches each other one (strongly connected components, Tarjan 1972)."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    found: list[frozenset[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        path.append(module)
        for imported in sorted(imports.get(module, ())):
            if imported not in numbers:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in path:
                lowest[module] = min(lowest[module], numbers[imported])
        if lowest[module] == numbers[module]:
            place = path.index(module)
            component = frozenset(path[place:])
            del path[place:]
            if len(component) > 1 or module in imports.get(module, ()):
                found.append(component)

    for module in sorted(imports):
        if module not in numbers:
            visit(module)
    return found


def chain_to(imports: Imports, start: str, targets: frozenset[str]) -> list[str]:
    """A shortest chain of imports from a module, or from anything below it, to one of the targets; empty if none."""
    waiting = [[module] for module in sorted(imports) if module == start or module.startswith(f"{start}.")]
    seen = {chain[0] for chain in waiting}
    for chain in waiting:
        for imported in sorted(imports.get(chain[-1], ())):
            if imported in targets:
                return [*chain, imported]
            if imported not in seen:
                seen.add(imported)
                waiting.append([*chain, imported])
    return []


def test_no_circle_of_imports() -> None:
    """Those of annotations included."""
    assert [sorted(circle) for circle in circles(all_imports(annotations=True)) if not circle <= AUDIT_CIRCLE] == []


def test_the_audit_still_has_its_circle() -> None:
    assert AUDIT_CIRCLE in circles(all_imports(annotations=True)), "take away AUDIT_CIRCLE: it is not needed any more"


@pytest.mark.parametrize("place", [*TORCH_FREE, *TORCH_FREE_MODULES])
def test_what_only_reads_never_reaches_torch(place: str) -> None:
    imports = all_imports(annotations=False)
    assert f"ontogeny.{place}" in imports
    assert chain_to(imports, f"ontogeny.{place}", frozenset(HEAVY)) == []


def test_the_graph_holds_torch() -> None:
    assert chain_to(all_imports(annotations=False), "ontogeny.train", frozenset(HEAVY)) != []


def test_circles_are_found() -> None:
    """a -> b -> c -> a is one, d imports itself, e only looks on."""
    planted: Imports = {
        "a": frozenset({"b"}),
        "b": frozenset({"c"}),
        "c": frozenset({"a", "numpy"}),
        "d": frozenset({"d"}),
        "e": frozenset({"a"}),
    }
    assert circles(planted) == [frozenset("abc"), frozenset("d")]
    assert circles({**planted, "c": frozenset(), "d": frozenset()}) == []


def test_chains_are_found() -> None:
    planted: Imports = {
        "x.store.run": frozenset({"x.core"}),
        "x.core": frozenset({"x.models"}),
        "x.models": frozenset({"torch"}),
        "x.stores": frozenset({"torch"}),
    }
    assert chain_to(planted, "x.store", frozenset({"torch"})) == ["x.store.run", "x.core", "x.models", "torch"]
    assert chain_to({**planted, "x.core": frozenset()}, "x.store", frozenset({"torch"})) == []


def private_imports(sources: Sources) -> list[str]:
    """Private modules, and private names of modules, that another room uses: `path: what`."""
    return [
        f"{path}: {used}"
        for path, source in sources.items()
        for room, used in _private_uses(parsed(source), sources)
        if room != room_of(path)
    ]


def _private_uses(tree: ast.Module, sources: Sources) -> Iterator[tuple[str, str]]:
    """(room, dotted name) of what is private."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ontogeny":
            for name in node.names:
                dotted = f"{node.module}.{name.name}"
                modules[name.asname or name.name] = dotted
                yield from _if_private(dotted)
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("ontogeny."):
                    modules[name.asname or name.name] = name.name
                    yield from _if_private(name.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            dotted = modules.get(ast.unparse(node.value), "")
            inside = dotted.removeprefix("ontogeny.").replace(".", "/")
            if f"{inside}.py" in sources or f"{inside}/__init__.py" in sources:
                yield room_of(f"{inside}.py"), f"{dotted}.{node.attr}"


def _if_private(dotted: str) -> Iterator[tuple[str, str]]:
    parts = dotted.split(".")[1:]
    if any(part.startswith("_") and not part.startswith("__") for part in parts):
        yield room_of("/".join(parts)), dotted


def test_what_is_private_stays_in_its_room() -> None:
    assert private_imports(package_sources()) == []


def test_private_imports_are_found() -> None:
    planted = {
        "data/text.py": "",
        "data/_rows.py": "",
        "data/corpora/jsonl.py": "from ontogeny.data._rows import rows\nfrom ontogeny.data.text import _clean\n",
        "train/loop.py": "from ontogeny.data._rows import rows\nfrom ontogeny.data.text import _clean, clean\n",
        "train/state.py": "def f():\n    import ontogeny.data._rows as rows\n",
        "models/build.py": "from ontogeny.data import text\ntext._clean()\ntext.clean()\nself._clean()\ntext.__doc__\n",
        "cli.py": "from ontogeny.data import _rows\n",
    }
    assert private_imports(planted) == [
        "train/loop.py: ontogeny.data._rows.rows",
        "train/loop.py: ontogeny.data.text._clean",
        "train/state.py: ontogeny.data._rows",
        "models/build.py: ontogeny.data.text._clean",
        "cli.py: ontogeny.data._rows",
    ]
