"""The page's code is complete: it is taken from there, and run."""

import re
from pathlib import Path

import pytest

from ontogeny.report.section import all_sections
from tests.docs.pages import DOCS, in_place, run_tests

PAGE = (DOCS / "adding_a_section.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_pages_test_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_place(PAGE, "report.sections", "hardest", tmp_path, monkeypatch):
        assert run_tests(PAGE, "report.sections", "hardest", tmp_path, monkeypatch) == 2
        assert list(all_sections())[:4] == ["findings", "reader", "hardest", "curves"]
    assert "hardest" not in all_sections()


def test_the_orders_on_the_page_are_those_of_the_sections() -> None:
    stated = {name: float(order) for name, order in re.findall(r"`(\w+)` (\d+)[,.]", PAGE)}
    assert stated == {name: section.order for name, section in all_sections().items()}
