"""Rules of the family `progress`, on curves written down by hand."""

import math

import numpy as np

from ontogeny.diagnosis.rules.progress import (
    evaluation_does_not_move,
    not_learning,
    plateau_at_frequencies,
    still_falling,
    stopped_learning,
)
from ontogeny.integrations.importers._builder import Builder
from ontogeny.store.history import History
from tests.diagnosis.curves import found, history, is_clear, lacks

STEPS = np.arange(1, 101)
NOISE = 0.02 * np.array([-1, 0.4, 1, -0.6, 0.2] * 20)
EVALUATED = list(range(10, 101, 10))


def of(values: np.ndarray) -> tuple[list[int], list[float]]:
    return STEPS[: len(values)].tolist(), values.tolist()


FALLING = 2 + 2 / np.sqrt(STEPS) + NOISE
CONSTANT_RATE = of(np.full(100, 1e-4))
DECAYED_RATE = of(1e-4 * (1 - STEPS / 101))


def test_a_loss_that_ends_where_it_began() -> None:
    finding = found(not_learning, history(loss=of(7.4 + NOISE)))
    assert abs(float(finding.numbers["change"])) < 0.01
    assert is_clear(not_learning, history(loss=of(FALLING)))


def test_a_constant_needs_no_statistics() -> None:
    assert found(not_learning, history(loss=([10, 20, 30, 40, 50, 60], [55.8, 54.75, 54.75, 54.75, 54.75, 54.75])))


def test_a_log_that_is_all_warmup_is_not_judged() -> None:
    log = history(loss=of(0.69 + NOISE), learning_rate=of(1e-9 * STEPS))
    assert "warm-up" in lacks(not_learning, log)


def test_a_log_that_begins_in_the_middle_of_training_is_not_judged() -> None:
    log = history(loss=((STEPS + 70_000).tolist(), (3.1 + NOISE).tolist()))
    assert "beginning" in lacks(not_learning, log)


def test_an_evaluation_that_falls_shows_that_something_is_learned() -> None:
    log = history(loss=of(2 + NOISE), eval_loss=(EVALUATED, [2.5 - 0.05 * i for i in range(10)]))
    assert is_clear(not_learning, log)


def test_an_evaluation_that_begins_at_zero_says_nothing_of_a_fall() -> None:
    log = history(loss=of(7.4 + NOISE), eval_loss=([10, 50, 100], [0.0, 0.1, 0.2]))
    assert found(not_learning, log)


def test_a_plateau_where_single_tokens_are_known() -> None:
    # from ln 50257 = 10.82 to 7.4 within ten entries, and no further
    values = 7.4 + (math.log(50257) - 7.4) * np.exp(-STEPS / 3) + NOISE
    finding = found(plateau_at_frequencies, history(loss=of(values)))
    assert np.isclose(float(finding.numbers["level"]), 7.4, atol=0.03)
    assert is_clear(plateau_at_frequencies, history(loss=of(3.3 + 7 / np.sqrt(STEPS))))


def test_a_plateau_of_characters() -> None:
    # ln 65 = 4.17 at first; 3.31 is the entropy of single characters
    values = 3.31 + 0.86 * np.exp(-STEPS / 3) + 0.1 * NOISE
    assert found(plateau_at_frequencies, history({"vocabulary_size": 65}, loss=of(values)))
    better = 1.5 + 2.6 * np.exp(-STEPS / 10)
    assert is_clear(plateau_at_frequencies, history({"vocabulary_size": 65}, loss=of(better)))


def test_an_evaluation_that_does_not_move() -> None:
    wobble = [3.725, 3.730, 3.726, 3.729, 3.727, 3.7255, 3.7295, 3.7275, 3.7285, 3.7265]
    finding = found(evaluation_does_not_move, history(eval_loss=(EVALUATED, wobble)))
    # (3.730 - 3.725) / 3.72725
    assert np.isclose(float(finding.numbers["range_over_median"]), 0.005 / 3.72725, rtol=1e-3)
    assert is_clear(evaluation_does_not_move, history(eval_loss=(EVALUATED, [3 - 0.1 * i for i in range(10)])))
    assert "8 or more" in lacks(evaluation_does_not_move, history(eval_loss=([1, 2, 3], [3.0, 3.0, 3.0])))


def test_a_run_that_was_done_after_a_tenth() -> None:
    values = 2 + 2 * np.exp(-STEPS / 4) + NOISE
    finding = found(stopped_learning, history(loss=of(values)))
    assert finding.severity == "note"
    assert is_clear(stopped_learning, history(loss=of(4 - 0.02 * STEPS + NOISE)))


def test_a_loss_that_was_still_falling_with_rate_left() -> None:
    # 4 - 0.02 x step: over the last fifth from 2.4 to 2.0
    straight = of(4 - 0.02 * STEPS + NOISE)
    finding = found(still_falling, history(loss=straight, learning_rate=CONSTANT_RATE))
    assert np.isclose(float(finding.numbers["change"]), -0.38, atol=0.03)
    assert is_clear(still_falling, history(loss=straight, learning_rate=DECAYED_RATE))
    assert is_clear(still_falling, history(loss=of(2 + NOISE), learning_rate=CONSTANT_RATE))


def test_losses_that_come_back_in_each_epoch_are_those_of_a_model_that_does_not_change() -> None:
    """Four losses per epoch, the same in three epochs; the twin differs in one digit of the last epoch."""
    values = [0.974, 1.374, 1.239, 0.967] * 3

    def of_four(values: list[float]) -> History:
        builder = Builder("by hand", "by hand")
        for i, value in enumerate(values):
            builder.add(i + 1, {"loss": value}, step=i + 1, epoch=1 + i // 4)
        return builder.build()

    finding = found(not_learning, of_four(values))
    assert (finding.severity, finding.numbers) == ("error", {"entries_per_epoch": 4, "epochs": 3})
    assert lacks(not_learning, of_four([*values[:-1], 0.966]))


def test_a_fall_that_ends_early_is_no_noise() -> None:
    """3.6 to 3.2 (-11%) over a sixth of the log, then flat: the trend must not widen the interval of the change."""
    values = np.concatenate([np.linspace(3.6, 3.2, 16), np.full(84, 3.2)]) + NOISE
    assert is_clear(not_learning, history(loss=of(values)))


def test_no_vocabulary_is_inferred_from_the_first_loss() -> None:
    """A first loss of 5.29 is below ln 256 = 5.55, and the plateau at 3.35 is that of a fine-tune of GPT-2."""
    values = np.concatenate([np.linspace(5.29, 3.35, 10), np.full(90, 3.35)]) + NOISE
    assert is_clear(plateau_at_frequencies, history(loss=of(values)))
    assert found(plateau_at_frequencies, history({"vocabulary_size": 65}, loss=of(values))).severity == "warning"
