"""Rules of the family `evaluation`, on numbers written down by hand."""

import numpy as np

from ontogeny.diagnosis.rules.evaluation import (
    best_by_noise,
    evaluation_still_falling,
    examples_miscounted,
    identical_evaluations,
    keep_best_cannot_work,
)
from tests.diagnosis.curves import found, history, is_clear, lacks

EIGHT = list(range(100, 900, 100))
RATE = (EIGHT, [1e-4] * 8)


def test_the_same_digits_at_every_evaluation() -> None:
    log = history(eval_loss=([499, 999, 1499], [51.7094, 51.7094, 51.7094]), learning_rate=([1, 2000], [1e-4, 1e-4]))
    finding = found(identical_evaluations, log)
    assert finding.numbers["equal_in_a_row"] == 3
    assert finding.severity == "error"


def test_equal_after_rounding_is_not_equal() -> None:
    # three decimals, three equal of eight: 0.5 of a thousandth is no evidence
    values = [1.41, 1.372, 1.363, 1.363, 1.363, 1.362, 1.361, 1.36]
    assert is_clear(identical_evaluations, history(eval_loss=(EIGHT, values)))
    stopped = history(eval_loss=(EIGHT, [1.123456789] * 8), learning_rate=(EIGHT, [0.0] * 8))
    assert is_clear(identical_evaluations, stopped)  # nothing was meant to move


def test_a_best_that_leads_by_less_than_the_noise() -> None:
    values = [3.0, 2.5, 2.0021, 2.0190, 2.0020, 2.0183, 2.0022, 2.0188]
    finding = found(best_by_noise, history({"best_metric": 2.0020}, eval_loss=(EIGHT, values)))
    assert np.isclose(float(finding.numbers["margin"]), 0.0001)
    assert finding.severity == "note"
    assert "best value" in lacks(best_by_noise, history(eval_loss=(EIGHT, values)))


def test_an_evaluation_that_counts_examples_twice() -> None:
    # 10 s x 100/s = 1000 examples; the third 10 s x 112.8/s = 1128
    config = {"eval_runtime_s": [10.0, 10.0, 10.0], "eval_examples_per_second": [100.0, 100.0, 112.8]}
    finding = found(examples_miscounted, history(config, eval_loss=([1, 2, 3], [2.0, 1.9, 1.8])))
    assert np.isclose(float(finding.numbers["scored"]), 1128)
    config["eval_examples_per_second"] = [100.001, 99.999, 100.0]
    assert is_clear(examples_miscounted, history(config, eval_loss=([1, 2, 3], [2.0, 1.9, 1.8])))
    assert "runtime" in lacks(examples_miscounted, history(eval_loss=([1, 2, 3], [2.0, 1.9, 1.8])))


def test_a_best_value_that_was_never_measured() -> None:
    values = [2.0, 1.9, 1.85, 1.87, 1.9, 1.91, 1.93, 1.95]
    assert found(keep_best_cannot_work, history({"best_metric": 1.2}, eval_loss=(EIGHT, values)))
    assert is_clear(keep_best_cannot_work, history({"best_metric": 1.85, "best_step": 300}, eval_loss=(EIGHT, values)))
    assert "best checkpoint" in lacks(keep_best_cannot_work, history(eval_loss=(EIGHT, values)))


def test_a_run_that_stopped_while_evaluation_fell() -> None:
    falling = [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3]
    finding = found(evaluation_still_falling, history(eval_loss=(EIGHT, falling), learning_rate=RATE))
    # the last third is 3 values: 1.5 to 1.3
    assert np.isclose(float(finding.numbers["fall"]), 0.2)
    down = (EIGHT, [1e-4 * (1 - i / 7) for i in range(8)])
    assert is_clear(evaluation_still_falling, history(eval_loss=(EIGHT, falling), learning_rate=down))
    turned = [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.45]
    assert is_clear(evaluation_still_falling, history(eval_loss=(EIGHT, turned), learning_rate=RATE))
