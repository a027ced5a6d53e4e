"""What is light stays light: torch and its companions are imported inside functions, or not at all."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "ontogeny"
HEAVY = {"torch", "transformers", "accelerate", "datasets", "tokenizers", "safetensors", "peft"}
ROOMS = [
    "measures",
    "controls",
    "interventions",
    "optimizers",
    "objectives/terms",
    "objectives/weightings",
    "data/corpora",
    "data/orders",
    "models/sources",
]
COMPONENT_FILES = sorted(path for room in ROOMS for path in (SOURCE / room).glob("*.py"))


def imported_at_once(tree: ast.Module) -> set[str]:
    """Top-level packages that importing the module imports: not those inside functions or under TYPE_CHECKING."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)
    return found


def test_import_scan_sees_what_runs_at_import() -> None:
    source = """
import os.path, torch.nn
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import peft
try:
    from datasets import load_dataset
except ImportError:
    pass
class C:
    import accelerate
def f():
    import transformers
"""
    assert imported_at_once(ast.parse(source)) == {"os", "torch", "typing", "datasets", "accelerate"}


@pytest.mark.parametrize("path", COMPONENT_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_components_can_be_described_without_torch(path: Path) -> None:
    assert imported_at_once(ast.parse(path.read_text(encoding="utf-8"))) & HEAVY == set()


def modules_after(statement: str) -> set[str]:
    command = [sys.executable, "-c", f"{statement}\nimport sys; print(*{{m.partition('.')[0] for m in sys.modules}})"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ontogeny", HEAVY | {"numpy", "pandas", "pydantic", "typer"}),
        ("import ontogeny.cli", HEAVY | {"numpy", "pandas", "xarray", "pydantic", "altair", "ruamel"}),
        ("from ontogeny.core.recipe_file import load_recipe; load_recipe('demo')", HEAVY | {"pandas", "xarray"}),
        ("from ontogeny.core.recipe_schema import recipe_schema; recipe_schema()", HEAVY),
        ("import ontogeny.store.run, ontogeny.report.page", HEAVY),
    ],
)
def test_light_things_import_nothing_heavy(statement: str, absent: set[str]) -> None:
    assert modules_after(statement) & absent == set()
