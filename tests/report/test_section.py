"""Sections of the page: their order, and that every figure names one that exists."""

import ast
from pathlib import Path

from ontogeny.report import remaining_scalars
from ontogeny.report.section import all_sections

FIGURES = Path(remaining_scalars.__file__).parent


def sections_named(source: str) -> set[str]:
    """Values of the keyword `section` in calls of `Figure`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return {
        keyword.value.value
        for call in calls
        if getattr(call.func, "id", "") == "Figure"
        for keyword in call.keywords
        if keyword.arg == "section" and isinstance(keyword.value, ast.Constant)
    }


def test_the_order_of_the_page() -> None:
    assert list(all_sections()) == [
        "findings",
        "reader",
        "curves",
        "memorization",
        "forgetting",
        "distillation",
        "dynamics",
        "tasks",
        "weights",
        "generation",
        "time",
        "more",
        "origin",
    ]


def test_no_two_sections_claim_the_same_place() -> None:
    orders = [section.order for section in all_sections().values()]
    assert len(orders) == len(set(orders))


def test_every_figure_names_a_section_that_exists() -> None:
    named = set().union(*(sections_named(path.read_text(encoding="utf-8")) for path in FIGURES.rglob("*.py")))
    assert named
    assert named <= set(all_sections())


def test_the_sections_of_figures_are_read_from_the_source() -> None:
    assert sections_named('Figure(title="a", section="b")\nother(section="c")') == {"b"}
