"""Rules of the family `scale`, on curves written down by hand."""

import math

import numpy as np

from ontogeny.diagnosis.rules.scale import (
    accumulation_not_normalised,
    broken_start,
    collapsed_loss,
    evaluation_multiplied,
    perplexity_disagrees,
    saturated_perplexity,
    stuck_at_uniform,
    train_eval_scale_differs,
)
from ontogeny.integrations.importers._builder import Builder
from ontogeny.store.history import History
from tests.diagnosis.curves import found, history, is_clear, lacks

STEPS = np.arange(1, 101)
EVALUATED = np.arange(10, 101, 10)


def curve(steps: np.ndarray, factor: float = 1.0) -> tuple[list[int], list[float]]:
    """2 + 2 / sqrt(step), times a factor: 2.63 at step 10, 2.2 at step 100."""
    return steps.tolist(), (factor * (2 + 2 / np.sqrt(steps))).tolist()


def test_a_training_loss_that_is_eight_times_too_large() -> None:
    log = history({"accumulation": 8}, loss=curve(STEPS, 8), eval_loss=curve(EVALUATED))
    finding = found(accumulation_not_normalised, log)
    assert finding.numbers["count"] == 8
    assert finding.severity == "error"
    assert is_clear(
        accumulation_not_normalised, history({"accumulation": 8}, loss=curve(STEPS), eval_loss=curve(EVALUATED))
    )


def test_an_evaluation_that_is_multiplied_by_the_devices() -> None:
    finding = found(evaluation_multiplied, history(loss=curve(STEPS), eval_loss=curve(EVALUATED, 4)))
    assert finding.numbers["count"] == 4
    assert finding.numbers["evaluations"] == 10


def test_overfitting_is_no_multiple() -> None:
    # the ratio goes from 1 to 3: it drifts
    steps, values = curve(EVALUATED)
    grown = [v * (1 + 2 * i / 9) for i, v in enumerate(values)]
    assert is_clear(evaluation_multiplied, history(loss=curve(STEPS), eval_loss=(steps, grown)))
    assert "3 or more" in lacks(evaluation_multiplied, history(loss=curve(STEPS), eval_loss=([50], [9.0])))


def test_two_scales() -> None:
    flat = (STEPS.tolist(), (12.6 + 0.01 * (STEPS % 3)).tolist())
    finding = found(train_eval_scale_differs, history(loss=flat, eval_loss=(EVALUATED.tolist(), [3.73] * 10)))
    assert np.isclose(float(finding.numbers["ratio"]), 3.73 / 12.61, rtol=2e-3)
    assert is_clear(train_eval_scale_differs, history(loss=curve(STEPS), eval_loss=curve(EVALUATED, 1.1)))


def test_a_pretrained_model_that_starts_like_a_random_one() -> None:
    high = (STEPS.tolist(), (5 + 7 * np.exp(-STEPS / 30)).tolist())  # 11.8 at first, 5.3 at the end
    finding = found(broken_start, history({"pretrained": True}, loss=high))
    assert float(finding.numbers["first_loss"]) > 11
    assert is_clear(broken_start, history({"pretrained": True}, loss=curve(STEPS)))
    assert "pretrained" in lacks(broken_start, history(loss=high))


def test_a_model_that_starts_at_25_by_design_and_recovers_raises_nothing() -> None:
    values = 1.5 + 23.5 * np.exp(-STEPS / 5)  # 25 at step 0, 1.5 at the end
    log = history({"pretrained": True}, loss=(STEPS.tolist(), values.tolist()))
    for rule in (broken_start, stuck_at_uniform, collapsed_loss):
        assert is_clear(rule, log) or lacks(rule, log)


def of_epochs(values: np.ndarray, last_epoch: float) -> History:
    builder = Builder("by hand", "by hand")
    for i, value in enumerate(values.tolist()):
        builder.add(i + 1, {"loss": value}, step=i + 1, epoch=last_epoch * (i + 1) / len(values))
    return builder.build()


def test_a_loss_that_collapses_within_the_first_epoch() -> None:
    finding = found(collapsed_loss, of_epochs(0.002 + 9 * np.exp(-STEPS / 4), last_epoch=2.0))
    assert float(finding.numbers["end_of_first_epoch"]) < 0.01
    assert is_clear(collapsed_loss, of_epochs(0.3 + 2 * np.exp(-STEPS / 4), last_epoch=2.0))
    # in the twentieth epoch such a loss is memorization, and no fault of the labels
    late = of_epochs(0.002 + 3 * np.exp(-STEPS / 40), last_epoch=20.0)
    assert "first epoch" in lacks(collapsed_loss, late)


def test_a_loss_that_stays_at_the_logarithm_of_the_vocabulary() -> None:
    level = math.log(32000)  # 10.37
    values = level + 0.005 * np.sin(STEPS)
    finding = found(stuck_at_uniform, history({"vocabulary_size": 32000}, loss=(STEPS.tolist(), values.tolist())))
    assert np.isclose(float(finding.numbers["uniform_loss"]), 10.3735, atol=1e-3)


def test_a_run_that_starts_there_and_leaves_is_healthy() -> None:
    values = np.where(STEPS < 5, math.log(32000), 4 + 6 * np.exp(-STEPS / 20))
    assert is_clear(stuck_at_uniform, history({"vocabulary_size": 32000}, loss=(STEPS.tolist(), values.tolist())))


def test_perplexities_at_e_to_the_twenty() -> None:
    # e^20 = 485165195.40979...
    log = history(eval_perplexity=([499, 999], [485165195.41, 485165195.41]))
    finding = found(saturated_perplexity, log)
    assert finding.certainty == "certain"
    assert "e^20" in finding.statement
    assert is_clear(saturated_perplexity, history(eval_perplexity=([1, 2], [485000000.0, 731.9])))
    assert lacks(saturated_perplexity, history(loss=curve(STEPS))) == "a perplexity"


def test_perplexity_that_is_not_exp_of_the_loss() -> None:
    # exp(2) = 7.389; 20 is 2.7 times as much
    log = history(eval_loss=([1, 2, 3], [2.0, 2.0, 2.0]), eval_perplexity=([1, 2, 3], [20.0, 20.5, 19.5]))
    assert np.isclose(float(found(perplexity_disagrees, log).numbers["ratio"]), 20 / math.exp(2), rtol=1e-3)
    # a mean of batch perplexities lies a little above
    near = history(eval_loss=([1, 2, 3], [2.0, 1.9, 1.8]), eval_perplexity=([1, 2, 3], [7.6, 6.9, 6.2]))
    assert is_clear(perplexity_disagrees, near)
