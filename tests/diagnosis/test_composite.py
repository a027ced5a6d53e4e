"""Rules of the family `composite`, on logs written down by hand."""

from typing import Any

import numpy as np

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rules.composite import (
    constant_term,
    kd_out_of_scale,
    parts_do_not_sum,
    train_eval_weights_differ,
    zero_weight_term,
)
from ontogeny.store.history import History
from tests.diagnosis.curves import history

STEPS = range(100, 700, 100)
WEIGHTS = {"kd": 0.7, "feat": 0.0}


def _log(total: Any, kd: Any, lm: Any, evaluation: Any = None, weights: Any = WEIGHTS, **more: Any) -> History:
    curves = {"loss": (STEPS, total), "term__kd": (STEPS, kd), "term__lm": (STEPS, lm)}
    if evaluation is not None:
        curves["eval_loss"] = (STEPS, evaluation)
    config = {"term_weights": [(step, weights) for step in STEPS]} if weights else {}
    return history(config, **curves, **{name: (STEPS, values) for name, values in more.items()})


def test_parts_that_add_up_as_they_are_were_weighted_before() -> None:
    # 27.4571 + 1.5804 = 29.0375; 0.7 x 27.4571 + w x 1.5804 is 20.8 at most; 27.4571 / 0.7 = 39.22,
    # 1.5804 / 0.3 = 5.268
    (verdict,) = examine(_log([29.0376] * 6, [27.4571] * 6, [1.5804] * 6), [parts_do_not_sum]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "note"
    assert "kd 39.22 x 0.7" in verdict.statement
    assert "lm 5.268 x 0.3" in verdict.statement


def test_raw_parts_and_their_weights_that_give_the_total_are_clear() -> None:
    # 0.7 x 39.2244 + 0.3 x 5.268 = 27.4571 + 1.5804
    log = _log([29.0375] * 6, [39.2244] * 6, [5.268] * 6)
    assert isinstance(examine(log, [parts_do_not_sum]).verdicts[0], Clear)


def test_a_total_that_neither_sum_gives_is_a_warning() -> None:
    # sum 30, weights 0.7 x 20 + (0 to 1) x 10 = 14 to 24, total 40
    (verdict,) = examine(_log([40.0] * 6, [20.0] * 6, [10.0] * 6), [parts_do_not_sum]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, verdict.numbers["steps_weighted"]) == ("warning", 0)


def test_without_weights_nothing_is_said_about_sums() -> None:
    log = _log([40.0] * 6, [20.0] * 6, [10.0] * 6, weights=None)
    for one in (parts_do_not_sum, train_eval_weights_differ, zero_weight_term):
        assert isinstance(examine(log, [one]).verdicts[0], NotAssessable)


def test_kd_a_hundred_times_the_likelihood_is_out_of_scale() -> None:
    (verdict,) = examine(_log([355.0] * 6, [500.0] * 6, [5.0] * 6), [kd_out_of_scale]).verdicts
    assert isinstance(verdict, Finding)
    assert np.isclose(float(verdict.numbers["ratio"]), 100.0)
    usual = _log([29.0375] * 6, [39.2244] * 6, [5.268] * 6)
    (verdict,) = examine(usual, [kd_out_of_scale]).verdicts
    assert isinstance(verdict, Clear)
    assert np.isclose(float(verdict.numbers["ratio"]), 7.446, atol=0.001)


def test_parts_after_their_weights_are_divided_before_they_are_compared() -> None:
    # 27.4571 / 0.7 over 1.5804 / 0.3 = 7.446, not 17.4
    (verdict,) = examine(_log([29.0376] * 6, [27.4571] * 6, [1.5804] * 6), [kd_out_of_scale]).verdicts
    assert isinstance(verdict, Clear)
    assert np.isclose(float(verdict.numbers["ratio"]), 7.446, atol=0.001)


def test_evaluation_at_nearly_twice_the_training_loss_while_terms_are_off() -> None:
    log = _log([29.0376] * 6, [27.4571] * 6, [1.5804] * 6, [51.7094] * 6, eval_perplexity=[485165195.41] * 6)
    (verdict,) = examine(log, [train_eval_weights_differ]).verdicts
    assert isinstance(verdict, Finding)
    assert np.isclose(float(verdict.numbers["ratio_lowest"]), 51.7094 / 29.0376)  # 1.78
    assert "perplexity is the exponential of that total" in verdict.statement  # e^20 = 485165195.41
    same = _log([29.0376] * 6, [27.4571] * 6, [1.5804] * 6, [28.56] * 6)
    assert isinstance(examine(same, [train_eval_weights_differ]).verdicts[0], Clear)


def test_a_gap_that_grows_from_nothing_is_overfitting_and_not_other_weights() -> None:
    log = _log([29.0] * 6, [27.4] * 6, [1.6] * 6, [29.5, 31.0, 34.0, 39.0, 45.0, 52.0])
    assert isinstance(examine(log, [train_eval_weights_differ]).verdicts[0], Clear)


def test_a_term_that_stands_still_under_a_weight() -> None:
    log = _log([29.0, 28.0, 27.0, 26.0, 25.0, 24.0], [0.693] * 6, [6.0, 5.8, 5.6, 5.4, 5.2, 5.0])
    (verdict,) = examine(log, [constant_term]).verdicts
    assert isinstance(verdict, Finding)
    assert "0.693 at 6 of 6" in verdict.statement
    moving = _log([29.0] * 6, [20.0, 19.0, 18.0, 17.0, 16.0, 15.0], [6.0] * 6)  # its likelihood's weight is supposed
    assert isinstance(examine(moving, [constant_term]).verdicts[0], Clear)


def test_a_stand_in_for_infinity_is_found_without_weights_and_a_zero_under_weight_zero_is_not() -> None:
    moving = [6.0, 5.8, 5.6, 5.4, 5.2, 5.0]
    assert isinstance(examine(_log(moving, [1e9] * 6, moving, weights=None), [constant_term]).verdicts[0], Finding)
    off = _log(moving, moving, moving, term__feature=[0.0] * 6)
    assert isinstance(examine(off, [constant_term]).verdicts[0], Clear)


def test_a_term_of_weight_zero_is_a_note_and_its_key_may_be_short() -> None:
    moving = [6.0, 5.8, 5.6, 5.4, 5.2, 5.0]
    (verdict,) = examine(_log(moving, moving, moving, term__routing_feature=moving), [zero_weight_term]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "note"
    assert verdict.statement.startswith("routing_feature is logged with weight 0 at all 6 steps")
    on = _log(moving, moving, moving, term__routing_feature=moving, weights={"kd": 0.7, "feat": 0.1})
    assert isinstance(examine(on, [zero_weight_term]).verdicts[0], Clear)


def test_logs_of_one_loss_are_not_assessable() -> None:
    log = history(loss=(STEPS, [3.0] * 6))
    for one in (kd_out_of_scale, parts_do_not_sum, train_eval_weights_differ, constant_term, zero_weight_term):
        assert isinstance(examine(log, [one]).verdicts[0], NotAssessable)
