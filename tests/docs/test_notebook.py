"""The notebook runs from top to bottom at its smallest size, with a base model as small as can be."""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "memorization.ipynb"
SMALL = ["model.overrides=[train.steps=20]", "train.epochs=1", "checkpoints.epochs=[0,1]"]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    display = types.ModuleType("IPython.display")
    for name, value in {"SVG": str, "Markdown": str, "display": lambda *things: shown.extend(things)}.items():
        setattr(display, name, value)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert cell.get("outputs", []) == []
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        if source.startswith("MODE"):
            source += f"\nMODE, SETTINGS = 'example', {SMALL!r}"
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    assert any("groups:" in str(one) for one in shown)
    assert any(str(one).endswith(".svg") for one in shown)
    assert names["archive"].stat().st_size > 100_000
    assert list(names["summary"].index) == [0, 1]
