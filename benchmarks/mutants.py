"""Small faults put into the source one at a time: which of them does no test notice?

``python -m benchmarks.mutants --seed 0 --count 40`` draws as many from each package as from the others, changes a copy
of the tree, and runs the tests of the changed module, the smallest files first, until one fails. What survives is
printed and has to be killed by a new test, or explained in docs/mutation.md.
"""

import argparse
import ast
import copy
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parent.parent
PACKAGES = ("core", "store", "train", "data")
_HEAVY = ("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "zarr", "xarray", "torch", "transformers", "safetensors")
_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult},
    **{ast.Mod: ast.FloorDiv},
}


class Mutant(NamedTuple):
    """One fault: a change of the node that stands at `place` in the order of `ast.walk`."""

    module: str
    """Path relative to the root of the repository."""
    place: int
    operator: str
    line: int
    was: str


def _comparison(node: ast.AST) -> bool:
    if not isinstance(node, ast.Compare):
        return False
    node.ops = [_COMPARISONS[type(node.ops[0])](), *node.ops[1:]]
    return True


def _constant(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, int | float):
        return False
    node.value = not node.value if isinstance(node.value, bool) else node.value + 1
    return True


def _arithmetic(node: ast.AST) -> bool:
    if not isinstance(node, ast.BinOp | ast.AugAssign) or type(node.op) not in _ARITHMETIC:
        return False
    node.op = _ARITHMETIC[type(node.op)]()
    return True


def _and_or(node: ast.AST) -> bool:
    if not isinstance(node, ast.BoolOp):
        return False
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    return True


def _condition(node: ast.AST) -> bool:
    if not isinstance(node, ast.If | ast.IfExp | ast.While):
        return False
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return True


def _comprehension(node: ast.AST) -> bool:
    if not isinstance(node, ast.comprehension) or not node.ifs:
        return False
    node.ifs = node.ifs[1:]
    return True


def _return(node: ast.AST) -> bool:
    if not isinstance(node, ast.Return) or node.value is None:
        return False
    node.value = ast.Constant(None)
    return True


def _statement(node: ast.AST) -> bool:
    """Drop the first call, raise or `x += …` of a block; the place is the block's."""
    for field in ("body", "orelse"):
        body = getattr(node, field, None)
        for at, statement in enumerate(body if isinstance(body, list) else []):
            call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
            if call or isinstance(statement, ast.Raise | ast.AugAssign):
                setattr(node, field, [*body[:at], ast.copy_location(ast.Pass(), statement), *body[at + 1 :]])
                return True
    return False


def _keyword(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not node.keywords:
        return False
    node.keywords = node.keywords[1:]
    return True


OPERATORS: dict[str, Callable[[ast.AST], bool]] = {
    "comparison": _comparison,
    "constant": _constant,
    "arithmetic": _arithmetic,
    "and/or": _and_or,
    "negated condition": _condition,
    "dropped filter": _comprehension,
    "return None": _return,
    "dropped statement": _statement,
    "dropped keyword argument": _keyword,
}


def _of_types(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that only annotate or decorate: no test can notice them."""
    for node in ast.walk(tree):
        hints = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        for hint in [*hints, *getattr(node, "decorator_list", [])]:
            if hint is not None:
                yield from ast.walk(hint)


def mutants_of(path: Path) -> list[Mutant]:
    """Every fault that the operators can put into a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {id(node) for node in _of_types(tree)}
    module = path.relative_to(_ROOT).as_posix()
    return [
        Mutant(module, place, operator, getattr(node, "lineno", 0), ast.unparse(node).splitlines()[0])
        for place, node in enumerate(ast.walk(tree))
        if id(node) not in skipped
        for operator, change in OPERATORS.items()
        if change(copy.copy(node))
    ]


def drawn(count: int, seed: int) -> list[Mutant]:
    """As many mutants of each package, without replacement, in turn."""
    per_package = []
    for package in PACKAGES:
        modules = sorted((_ROOT / "src" / "ontogeny" / package).rglob("*.py"))
        every = [mutant for path in modules for mutant in mutants_of(path)]
        per_package.append(random.Random(f"{seed} {package}").sample(every, -(-count // len(PACKAGES))))
    return [mutant for group in zip(*per_package, strict=True) for mutant in group][:count]


def source_of(mutant: Mutant) -> str:
    """The module's text with the fault in it."""
    tree = ast.parse((_ROOT / mutant.module).read_text(encoding="utf-8"))
    OPERATORS[mutant.operator](list(ast.walk(tree))[mutant.place])
    return ast.unparse(ast.fix_missing_locations(tree))


def _naming(module: str, where: str) -> list[Path]:
    """Python files below `where` that import the module."""
    package, name = ".".join(Path(module).parent.parts[1:]), Path(module).stem
    forms = re.compile(rf"{package}\.{name}\b|from {package} import .*\b{name}\b")
    return [path for path in sorted((_ROOT / where).rglob("*.py")) if forms.search(path.read_text(encoding="utf-8"))]


def tests_of(module: str, most: int) -> list[str]:
    """Test files that name the module, else those that name an importer of it: its package's first, then by size."""
    chosen = {path for path in _naming(module, "tests") if path.name.startswith("test_")}
    for importer in [] if chosen else _naming(module, "src"):
        chosen |= {path for path in _naming(str(importer.relative_to(_ROOT)), "tests") if path.name.startswith("test_")}
    near = "/".join(("tests", *Path(module).parts[2:-1]))
    files = sorted(chosen, key=lambda path: (near not in path.as_posix(), path.stat().st_size))
    return [path.relative_to(_ROOT).as_posix() for path in files[:most]]


def _run_tests(tree: Path, tests: Sequence[str], log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.setsid()
    os.chdir(tree)
    sys.path[:0] = [str(tree / "src"), str(tree)]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # for what tests start
    for name in [name for name in sys.modules if name.split(".")[0] in ("ontogeny", "tests", "benchmarks")]:
        del sys.modules[name]
    import pytest

    os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))


def verdict(mutant: Mutant, tree: Path, tests: Sequence[str], seconds: float) -> str:
    """`killed`, `survived`, `timeout` (more than `seconds`), or `no test` where no test names the module."""
    if not tests:
        return "no test"
    target = tree / mutant.module
    whole = target.read_bytes()
    target.write_text(source_of(mutant), encoding="utf-8")
    child = multiprocessing.get_context("fork").Process(target=_run_tests, args=(tree, tests, tree / "mutant.log"))
    child.start()
    child.join(seconds)
    if late := child.is_alive():
        child.kill()
        child.join()
    target.write_bytes(whole)
    return "timeout" if late else "survived" if child.exitcode == 0 else "killed"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-tests", type=int, default=4, help="test files per mutant")
    parser.add_argument("--seconds", type=float, default=120, help="for the tests of one mutant")
    return parser.parse_args()


if __name__ == "__main__":
    options = _arguments()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for library in _HEAVY:  # once, before the forks
        importlib.import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "tree"
        shutil.copytree(_ROOT, copied, ignore=shutil.ignore_patterns(".git", ".*_cache", "__pycache__", ".venv"))
        for drawn_mutant in drawn(options.count, options.seed):
            began = time.perf_counter()
            chosen_tests = tests_of(drawn_mutant.module, options.most_tests)
            outcome = verdict(drawn_mutant, copied, chosen_tests, options.seconds)
            taken = round(time.perf_counter() - began, 1)
            print(json.dumps({"verdict": outcome, "seconds": taken, **drawn_mutant._asdict()}), flush=True)
