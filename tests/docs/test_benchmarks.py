"""The page shows the figures of docs/benchmarks.json, and no others."""

import json
from pathlib import Path

from benchmarks.__main__ import names, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_that_of_the_figures() -> None:
    results = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))
    assert page(results) == (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_a_benchmark_is_a_module_with_main() -> None:
    assert {"startup", "token_nll", "training"} <= set(names())
    assert "__main__" not in names()


def test_figures_by_hand() -> None:
    figures = {"speed": {"ratio": 1.0249, "low": 0.99, "high": 1.06, "ours_ms": 12.3456}, "tokens": 1234.0}
    rows = page({"startup": {"figures": figures, "machine": {"cores": "2"}, "date": "2026-01-01"}}).splitlines()
    assert "| speed | **1.02** (0.99 to 1.06) | ours ms 12.35 |" in rows
    assert "| tokens | 1,234 |  |" in rows
    assert rows[-1] == "2026-01-01: cores 2."
