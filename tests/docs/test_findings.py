"""The index of findings is that of the rules, and the page on adding a rule holds code that runs."""

import importlib.util
import re
from pathlib import Path

import numpy as np

from benchmarks.faults import _recall
from ontogeny.diagnosis.rule import Rule

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "adding_a_rule.md").read_text(encoding="utf-8")


def code(path: str) -> str:
    found = re.search(rf"<!-- file: {re.escape(path)} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"the page has no file {path}"
    return found[1]


def test_the_index_is_that_of_the_rules() -> None:
    spec = importlib.util.spec_from_file_location("write_findings_index", DOCS / "write_findings_index.py")
    assert spec
    assert spec.loader
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert writer.PAGE.read_text(encoding="utf-8") == writer.text()  # else: make docs


def test_the_pages_rule_finds_its_fault_and_leaves_the_twin_alone() -> None:
    rules: dict[str, object] = {"__name__": "ontogeny.diagnosis.rules.clock_example"}
    exec(code("src/ontogeny/diagnosis/rules/throughput.py"), rules)
    rule = rules["throughput_halves"]
    assert isinstance(rule, Rule)
    faults: dict[str, object] = {}
    exec(code("benchmarks/faults/throughput.py"), faults)
    make = faults["throughput_halves"]
    assert callable(make)
    hits = [_recall._raises(rule, make(np.random.default_rng(i))[0]) for i in range(10)]
    alarms = [_recall._raises(rule, make(np.random.default_rng(i))[1]) for i in range(10)]
    assert hits == [True] * 10
    assert alarms == [False] * 10
