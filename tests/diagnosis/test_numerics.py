"""Rules of the family `numerics`, on curves written down by hand."""

import math

import numpy as np
import pytest

from ontogeny.diagnosis.rules.numerics import (
    exploding_gradient,
    gradient_always_clipped,
    hidden_nan,
    masked_labels,
    nan_loss,
    vanished_gradient,
    zero_loss,
)
from tests.diagnosis.curves import found, history, is_clear, lacks

NAN = math.nan
STEPS = list(range(1, 101))
FALLING = [3.0 - 0.01 * s for s in STEPS]
NORMS = [1.0 + 0.1 * (s % 3) for s in STEPS]


def test_nan_to_the_end_is_an_error_that_names_its_first_step() -> None:
    finding = found(nan_loss, history(loss=([1, 2, 3, 4, 5, 6], [5.0, 6.0, 7.5, NAN, NAN, NAN])))
    assert finding.severity == "error"
    assert finding.numbers["first_step"] == 4
    assert "7.5" in finding.statement
    assert finding.evidence[0].steps == (3, 4, 5, 6)  # the last value, and what follows


def test_one_nan_of_a_loss_scaler_in_the_first_steps_is_benign() -> None:
    assert is_clear(nan_loss, history(loss=(STEPS, [NAN, *FALLING[1:]])))


def test_one_nan_in_the_middle_is_a_note() -> None:
    values = FALLING.copy()
    values[50] = NAN
    assert found(nan_loss, history(loss=(STEPS, values))).severity == "note"


def test_nan_gradients_behind_a_finite_loss() -> None:
    # 5 of 100 entries, all after the first 2: 0.05 of them
    norms = [NAN if s in (20, 40, 41, 60, 90) else n for s, n in zip(STEPS, NORMS, strict=True)]
    finding = found(hidden_nan, history(loss=(STEPS, FALLING), grad_norm=(STEPS, norms)))
    assert finding.numbers["hidden"] == 5
    assert finding.numbers["first_step"] == 20


def test_overflow_in_the_first_steps_is_benign_and_without_norms_nothing_is_said() -> None:
    assert is_clear(hidden_nan, history(loss=(STEPS, FALLING), grad_norm=(STEPS, [math.inf, NAN, *NORMS[2:]])))
    assert "gradient norm" in lacks(hidden_nan, history(loss=(STEPS, FALLING)))


def test_exact_zeros_after_an_ordinary_loss() -> None:
    # 1.31 at step 6 to 0 at step 7, four entries long
    log = history(loss=(list(range(1, 11)), [1.5, 1.45, 1.4, 1.4, 1.35, 1.31, 0.0, 0.0, 0.0, 0.0]))
    finding = found(zero_loss, log)
    assert finding.numbers["zeros"] == 4
    assert finding.numbers["before"] == 1.31


def test_a_memorised_set_that_comes_down_to_zero_is_no_zero_loss() -> None:
    values = [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0, 0.0, 0.0]
    assert is_clear(zero_loss, history(loss=(list(range(1, 11)), values)))


def test_a_policy_loss_of_zero_is_not_judged() -> None:
    log = history(loss=(STEPS, [0.0] * 100), reward=(STEPS, NORMS))
    assert "objective" in lacks(zero_loss, log)
    assert "objective" in lacks(masked_labels, log)


def test_zero_from_the_first_entry_means_that_no_label_counts() -> None:
    finding = found(masked_labels, history(loss=([1, 2, 3, 4, 5, 6], [0.0] * 6)))
    assert finding.numbers["share_zero"] == 1.0
    assert is_clear(masked_labels, history(loss=([1, 2, 3, 4, 5, 6], [0.5, 0.0, 0.0, 0.0, 0.0, 0.0])))


def test_gradients_that_vanish_for_good() -> None:
    # from step 71 to 100: 30 entries
    finding = found(vanished_gradient, history(grad_norm=(STEPS, [*NORMS[:70], *[1e-12] * 30])))
    assert finding.numbers["longest_run"] == 30
    assert finding.numbers["first_step"] == 71


def test_a_norm_printed_as_zero_in_every_line_was_not_computed() -> None:
    log = history(loss=(STEPS, FALLING), grad_norm=(STEPS, [0.0] * 100))
    assert "not computed" in lacks(vanished_gradient, log) or "was computed" in lacks(vanished_gradient, log)


def test_gradients_a_thousand_times_their_median() -> None:
    # median of 1.0, 1.1, 1.2 in turn: 1.1; 2000 / 1.1 = 1818
    norms = [2000.0 if s in (60, 80) else n for s, n in zip(STEPS, NORMS, strict=True)]
    finding = found(exploding_gradient, history(grad_norm=(STEPS, norms)))
    assert finding.numbers["entries_above"] == 2
    assert np.isclose(float(finding.numbers["ratio"]), 2000 / 1.1)


def test_high_norms_at_the_start_and_one_of_fifteen_times_are_ordinary() -> None:
    norms = [50.0, 30.0, 10.0, *NORMS[3:]]
    norms[60] = 15.0
    assert is_clear(exploding_gradient, history(grad_norm=(STEPS, norms)))


def test_clipping_at_every_step() -> None:
    log = history({"max_grad_norm": 0.5}, grad_norm=(STEPS, NORMS))
    assert found(gradient_always_clipped, log).numbers["share_clipped"] == 1.0
    assert is_clear(gradient_always_clipped, history({"max_grad_norm": 1.15}, grad_norm=(STEPS, NORMS)))
    assert "max_grad_norm" in lacks(gradient_always_clipped, history(grad_norm=(STEPS, NORMS)))


@pytest.mark.parametrize(
    ("optimizer", "certainty", "words"),
    [
        ("sgd", "certain", "clipping sets how far each batch moves the weights"),
        ("signsgd", "likely", "every batch counts alike"),
        ("lion_32bit", "likely", "under lion_32bit, whose steps hardly depend on the size of gradients"),
        ("ademamix_8bit", "likely", "every batch counts alike"),
        ("lomo", "possible", "under Adam and its kin it hardly does"),
        ("adamw_torch", "likely", "under adamw_torch, whose steps hardly depend on the size of gradients"),
        ("adafactor", "likely", "every batch counts alike"),
        (None, "possible", "under Adam and its kin it hardly does"),
    ],
)
def test_what_clipping_does_depends_on_the_optimizer(optimizer: str | None, certainty: str, words: str) -> None:
    """The threshold goes by the name that the run's own configuration has for it."""
    config = {"max_grad_norm": 0.5} | ({"optimizer": optimizer} if optimizer else {})
    finding = found(gradient_always_clipped, history(config, grad_norm=(STEPS, NORMS)))
    assert finding.certainty == certainty
    assert words in finding.statement
    assert "raise max_grad_norm to about the median norm" in finding.remedy
    assert "(max_grad_norm) of 0.5" in finding.statement
    own = found(gradient_always_clipped, history({**config, "clip_key": "train.clip"}, grad_norm=(STEPS, NORMS)))
    assert "raise train.clip to" in own.remedy
    assert "max_grad_norm" not in own.statement + own.remedy


def test_nan_from_the_first_evaluation_on_sends_nobody_back_to_a_checkpoint() -> None:
    log = history(loss=(range(1, 21), [2.0] * 20), eval_loss=([5, 10, 15, 20], [math.nan] * 4))
    finding = found(nan_loss, log)
    assert "labels of one evaluation batch" in finding.remedy
    assert "go back" not in finding.remedy
    later = history(loss=(range(1, 21), [2.0] * 20), eval_loss=([5, 10, 15, 20], [2.0, 1.9, math.nan, math.nan]))
    assert "go back" in found(nan_loss, later).remedy


def test_a_loss_that_is_left_out_while_the_norm_is_nan_is_nan() -> None:
    steps = range(1, 21)
    log = history(loss=(range(1, 13), FALLING[:12]), grad_norm=(steps, [1.0] * 12 + [math.nan] * 8))
    finding = found(nan_loss, log)
    assert finding.numbers == {"not_finite": 8, "entries": 20, "first_step": 13}
    finite = history(loss=(range(1, 13), FALLING[:12]), grad_norm=(steps, [1.0] * 20))
    assert is_clear(nan_loss, finite)


def test_zero_losses_beside_a_nan_are_masked_labels_and_said_once() -> None:
    log = history(
        loss=([50, 100], [0.0, 0.0]), grad_norm=([50, 100], [math.nan] * 2), eval_loss=([28, 56], [math.nan] * 2)
    )
    assert "grad_norm is NaN" in found(masked_labels, log).statement
    assert "masked_labels" in lacks(nan_loss, log)
    assert lacks(masked_labels, history(loss=([50, 100], [0.0, 0.0]), grad_norm=([50, 100], [1.0, 1.0])))


def test_zero_after_one_small_value() -> None:
    log = history(loss=(range(10, 210, 10), [0.0328] + [0.0] * 19))
    finding = found(zero_loss, log)
    assert (finding.severity, finding.numbers["zeros"]) == ("warning", 19)
    gradual = [0.8, 0.4, 0.2, 0.1, 0.05, 0.01] + [0.0] * 14  # learned by heart: through small values
    assert is_clear(zero_loss, history(loss=(range(10, 210, 10), gradual)))


def test_a_norm_of_zero_throughout_while_the_loss_only_wobbles() -> None:
    flat = [1.9 + 0.05 * (-1) ** i for i in range(100)]
    assert found(vanished_gradient, history(loss=(STEPS, flat), grad_norm=(STEPS, [0.0] * 100))).severity == "error"


def test_in_reinforcement_learning_a_zero_norm_needs_a_policy_that_stays() -> None:
    zeros, varied = [0.0] * 20, [0.5 + 0.01 * (-1) ** i for i in range(20)]
    steps = range(1, 21)
    log = history(reward=(steps, varied), reward_std=(steps, varied), kl=(steps, zeros), grad_norm=(steps, zeros))
    assert found(vanished_gradient, log).numbers["longest_run"] == 20
    moves = history(reward=(steps, varied), reward_std=(steps, varied), kl=(steps, varied), grad_norm=(steps, zeros))
    assert lacks(vanished_gradient, moves)
