"""Every rule explains itself, has a page, a fault that can be planted, and tests of its own."""

import ast
from pathlib import Path

import pytest

from benchmarks.faults._recall import generator_of
from ontogeny.diagnosis.rule import Rule, all_rules

REPOSITORY = Path(__file__).parents[2]
HEADINGS = ("What it says", "Cause", "From a real log", "What else it can be", "What to do", "Threads")
RULES = pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)


def test_there_are_as_many_rules_as_promised_and_no_name_twice() -> None:
    names = [rule.id for rule in all_rules()]
    assert len(names) >= 32
    assert len(names) == len(set(names))


@RULES
def test_every_rule_says_what_it_needs_computes_and_where_its_threshold_comes_from(rule: Rule) -> None:
    for text in (
        rule.title,
        rule.needs,
        rule.statistic,
        rule.threshold,
        rule.origin,
        rule.otherwise,
        rule.refuted_by,
        rule.remedy,
    ):
        assert text.strip()
        assert "\n" not in text
    assert rule.check.__doc__
    assert rule.objectives


@RULES
def test_every_rule_has_a_page(rule: Rule) -> None:
    page = (REPOSITORY / "docs" / "findings" / f"{rule.id}.md").read_text(encoding="utf-8")
    assert f"`{rule.id}`" in page
    assert [heading for heading in HEADINGS if f"**{heading}.**" not in page] == []


@RULES
def test_every_rule_has_a_fault_to_plant(rule: Rule) -> None:
    assert generator_of(rule).__doc__


@RULES
def test_every_rule_is_tested_by_name(rule: Rule) -> None:
    path = REPOSITORY / "tests" / "diagnosis" / f"test_{rule.family}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert rule.id in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_no_page_is_left_of_a_rule_that_is_gone() -> None:
    pages = {path.stem for path in (REPOSITORY / "docs" / "findings").glob("*.md")}
    assert pages - {"README", "audit", "audit_faults"} == {rule.id for rule in all_rules()}
