"""Rules of the family `learning_rate`, on schedules written down by hand."""

import numpy as np

from ontogeny.diagnosis.rules.learning_rate import (
    decay_unfinished,
    rate_jump,
    rate_too_high,
    unfinished_warmup,
    zero_learning_rate,
)
from tests.diagnosis.curves import found, history, is_clear, lacks

STEPS = np.arange(1, 101)
LINEAR = 1e-4 * np.minimum(STEPS / 10, 1) * (1 - STEPS / 101)
"""Warm-up over 10 steps, then down to about 0 at step 101."""


def rates(values: np.ndarray) -> tuple[list[int], list[float]]:
    return STEPS.tolist(), values.tolist()


def test_a_rate_of_zero_in_the_middle() -> None:
    values = LINEAR.copy()
    values[49:60] = 0  # steps 50 to 60: 11 entries
    finding = found(zero_learning_rate, history(learning_rate=rates(values)))
    assert finding.numbers["zeros"] == 11
    assert finding.numbers["first_step"] == 50


def test_zeros_at_the_end_and_zeros_of_rounding_are_no_fault() -> None:
    ends = LINEAR.copy()
    ends[-1] = 0
    assert is_clear(zero_learning_rate, history(learning_rate=rates(ends)))
    # printed with six decimals, a decay to 1e-9 shows 0.000000 for its last entries
    assert is_clear(zero_learning_rate, history(learning_rate=rates(np.round(1e-4 * np.exp(-STEPS / 10), 6))))


def test_a_schedule_that_starts_anew() -> None:
    values = LINEAR.copy()
    values[60:] = LINEAR[60] * 5  # step 61
    finding = found(rate_jump, history(learning_rate=rates(values)))
    assert finding.numbers["at_step"] == 61
    # 5 x (1 - 61/101) / (1 - 60/101) = 5 x 40 / 41
    assert np.isclose(float(finding.numbers["ratio"]), 5 * 40 / 41)


def test_warmup_step_decay_and_restarts_are_no_jumps() -> None:
    assert is_clear(rate_jump, history(learning_rate=rates(LINEAR)))
    assert is_clear(rate_jump, history(learning_rate=rates(np.where(STEPS < 50, 1e-3, 1e-4))))
    restarts = 1e-4 * (1.05 - (STEPS % 20) / 20)
    assert is_clear(rate_jump, history(learning_rate=rates(restarts)))
    assert is_clear(rate_jump, history(learning_rate=rates(np.full(100, 0.02))))  # prefix tuning: high, and right


def test_a_log_that_is_all_warmup() -> None:
    finding = found(unfinished_warmup, history(learning_rate=rates(1e-9 * STEPS)))
    assert finding.severity == "note"
    assert is_clear(unfinished_warmup, history(learning_rate=rates(LINEAR)))
    assert is_clear(unfinished_warmup, history(learning_rate=rates(1e-8 * 1.1**STEPS)))  # a range test
    assert "20 or more" in lacks(unfinished_warmup, history(learning_rate=([1, 2, 3], [1e-9, 2e-9, 3e-9])))


def test_a_loss_that_climbs_while_the_rate_is_warmed_up() -> None:
    # warm-up over 40 steps; the loss falls to 1.0 at step 20, climbs to 2.0 at step 40 and stays
    rate = 1e-4 * np.minimum(STEPS / 40, 1)
    loss = np.where(STEPS <= 20, 2.0 - 0.05 * STEPS, np.minimum(1.0 + 0.05 * (STEPS - 20), 2.0)) + 0.001 * (STEPS % 2)
    finding = found(rate_too_high, history(loss=rates(loss), learning_rate=rates(rate)))
    assert float(finding.numbers["level"]) < 1.2
    assert float(finding.numbers["later"]) > 1.9
    falling = 2.0 - 0.01 * STEPS
    assert is_clear(rate_too_high, history(loss=rates(falling), learning_rate=rates(rate)))
    assert "warm-up" in lacks(rate_too_high, history(loss=rates(falling), learning_rate=rates(np.full(100, 1e-4))))


def test_a_decay_made_for_three_times_the_steps() -> None:
    # at step 100 of a decay over 300: 2/3 is left
    values = 1e-4 * (1 - STEPS / 300)
    finding = found(decay_unfinished, history({"max_steps": 100}, learning_rate=rates(values)))
    assert np.isclose(float(finding.numbers["share_left"]), (2 / 3) / (1 - 1 / 300))
    assert is_clear(decay_unfinished, history({"max_steps": 100}, learning_rate=rates(LINEAR)))
    assert is_clear(decay_unfinished, history({"max_steps": 100}, learning_rate=rates(np.full(100, 1e-4))))
    assert "plan" in lacks(decay_unfinished, history({"max_steps": 900}, learning_rate=rates(values)))
