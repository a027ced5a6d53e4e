"""Rules of the family `generalisation`, on curves written down by hand."""

import numpy as np

from ontogeny.core.contracts import Clear, Finding, NotAssessable
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rules.generalisation import overfitting
from tests.diagnosis.curves import history


def test_overfitting_names_the_turn_and_the_rise() -> None:
    # lowest 2.0 at step 30; 2.15, 2.25, 2.4 after it; 2.4 / 2.0 - 1 = 20%; training loss falls from 1.9 to 0.5
    log = history(
        loss=([10, 20, 30, 40, 50, 60, 70], [3.0, 2.4, 1.9, 1.5, 1.1, 0.8, 0.5]),
        eval_loss=([10, 20, 30, 40, 50, 60], [2.95, 2.35, 2.0, 2.15, 2.25, 2.4]),
    )
    (verdict,) = examine(log, [overfitting]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "error"
    assert verdict.numbers["best_step"] == 30
    assert np.isclose(float(verdict.numbers["rise"]), 0.2)
    assert verdict.evidence[0].steps == (10, 30, 40, 50, 60)


def test_one_high_last_evaluation_is_no_overfitting() -> None:
    log = history(
        loss=([10, 20, 30, 40], [3.0, 2.5, 2.2, 2.0]),
        eval_loss=([10, 20, 30, 40, 50], [2.9, 2.4, 2.1, 2.0, 2.1]),
    )
    assert isinstance(examine(log, [overfitting]).verdicts[0], Clear)


def test_four_evaluations_are_too_few() -> None:
    log = history(eval_loss=([1, 2, 3, 4], [2.0, 2.1, 2.2, 2.3]))
    (verdict,) = examine(log, [overfitting]).verdicts
    assert isinstance(verdict, NotAssessable)
    assert "evaluation loss" in verdict.lacks
