"""Every rule finds its fault where it was planted, and nothing in the clean twin. `make bench-diagnose` draws 200."""

import numpy as np
import pytest

from benchmarks.faults._clean import clean
from benchmarks.faults._recall import score
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rule import Rule, all_rules

DRAWS = 8


@pytest.mark.parametrize("rule", all_rules(), ids=lambda rule: rule.id)
def test_planted_fault_is_found_and_its_twin_is_clear(rule: Rule) -> None:
    counted = score(rule, DRAWS, seed=1)
    assert counted.found >= DRAWS - 2
    assert counted.false_alarms == 0


def test_healthy_logs_raise_no_error_and_no_warning() -> None:
    raised = []
    for draw in range(40):
        found = examine(clean(np.random.default_rng([7, draw])).history()).findings
        raised += [(draw, one.rule) for one in found if one.severity != "note"]
    assert raised == []
