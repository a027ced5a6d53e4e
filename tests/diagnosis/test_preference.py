"""Rules of the family `preference`, on curves written down by hand."""

import numpy as np

from ontogeny.core.verdicts import Clear, Finding, NotAssessable
from ontogeny.diagnosis.examine import examine
from ontogeny.diagnosis.rules.preference import (
    eval_accuracy_falls,
    likelihood_displacement,
    preference_not_learned,
    preference_over_optimised,
    reward_saturated,
)
from ontogeny.integrations.importers._builder import Builder
from ontogeny.store.history import History
from tests.diagnosis.curves import history

STEPS = range(1, 41)
WOBBLE = 0.01 * np.cos(np.arange(40) * 2.0)
ALONG = 1 - np.exp(-np.arange(40) / 10)


def test_a_loss_that_stays_at_ln_2_has_not_learned() -> None:
    log = history(
        loss=(STEPS, 0.6931 + WOBBLE), rewards__accuracies=(STEPS, [0.5] * 40), rewards__margins=(STEPS, [0.0] * 40)
    )
    (verdict,) = examine(log, [preference_not_learned]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.severity == "warning"
    falling = history(loss=(STEPS, 0.6931 - 0.4 * ALONG + WOBBLE), rewards__margins=(STEPS, 1.5 * ALONG))
    assert isinstance(examine(falling, [preference_not_learned]).verdicts[0], Clear)


def test_the_same_within_the_warmup_is_a_note() -> None:
    rising = 1e-8 * np.arange(1, 41)
    log = history(loss=(STEPS, 0.6931 + WOBBLE), rewards__margins=(STEPS, [0.0] * 40), learning_rate=(STEPS, rising))
    (verdict,) = examine(log, [preference_not_learned]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, verdict.certainty) == ("note", "possible")


def test_other_losses_and_short_logs_are_not_assessable() -> None:
    simpo = history(loss=(STEPS, 2.5 + WOBBLE), rewards__margins=(STEPS, [0.0] * 40))
    short = history(loss=(range(5), [0.69] * 5), rewards__margins=(range(5), [0.0] * 5))
    for log in (simpo, short):
        assert isinstance(examine(log, [preference_not_learned]).verdicts[0], NotAssessable)


def test_kto_begins_at_one_half() -> None:
    # last quarter: 0.5 x exp(-i / 10) for i = 30 to 39, median about 0.5 x exp(-3.45) = 0.016: 3% of 0.5
    loss = 0.5 * np.exp(-np.arange(40) / 10)
    log = history(loss=(STEPS, loss), kl=(STEPS, [0.0] * 40), rewards__margins=(STEPS, 9 * ALONG))
    (verdict,) = examine(log, [preference_over_optimised]).verdicts
    assert isinstance(verdict, Finding)
    assert verdict.numbers["start"] == 0.5
    assert np.isclose(float(verdict.numbers["loss"]), 0.5 * np.exp(-3.45), rtol=0.01)


def test_pairs_told_apart_without_remainder_are_over_optimised_and_most_of_them_are_not() -> None:
    loss = 0.6931 * np.exp(-np.arange(40) / 10)
    all_right = history(
        loss=(STEPS, loss), rewards__margins=(STEPS, 6 * ALONG), rewards__accuracies=(STEPS, [1.0] * 40)
    )
    assert isinstance(examine(all_right, [preference_over_optimised]).verdicts[0], Finding)
    most = history(
        loss=(STEPS, 0.11 + loss * 0.85), rewards__margins=(STEPS, 4 * ALONG), rewards__accuracies=(STEPS, [0.93] * 40)
    )
    assert isinstance(examine(most, [preference_over_optimised]).verdicts[0], Clear)


def test_chosen_answers_that_lose_likelihood_are_displaced() -> None:
    falling = history(rewards__chosen=(STEPS, -1.5 * ALONG + WOBBLE), rewards__margins=(STEPS, 2 * ALONG))
    (verdict,) = examine(falling, [likelihood_displacement]).verdicts
    assert isinstance(verdict, Finding)
    # first quarter: mean of -1.5 (1 - e^(-i/10)), i = 0..9, is -0.5035; last: -1.4523
    assert np.isclose(float(verdict.numbers["chosen_change"]), -0.949, atol=0.01)


def test_logps_that_scatter_with_their_batches_are_not_displaced() -> None:
    """The first batch has -56 and the last -89, and the reward of chosen answers rises."""
    logps = np.where(np.arange(40) % 3 == 0, -89.0, -56.0)
    log = history(
        rewards__chosen=(STEPS, 0.8 * ALONG + WOBBLE), logps__chosen=(STEPS, logps), rewards__margins=(STEPS, 2 * ALONG)
    )
    assert isinstance(examine(log, [likelihood_displacement]).verdicts[0], Clear)


def _reward_model(end: float, epochs: float, name: str = "reward.log") -> History:
    builder = Builder(name, "by hand")
    for row in range(1, 41):
        loss = end + (0.6914 - end) * float(np.exp(-(row - 1) / 5))
        builder.add(row, {"loss": loss}, step=row, epoch=epochs * row / 40 if epochs else None)
    return builder.build()


def test_a_reward_model_at_a_few_percent_within_an_epoch_is_saturated() -> None:
    (verdict,) = examine(_reward_model(0.02, 0.41), [reward_saturated]).verdicts
    assert isinstance(verdict, Finding)
    assert (verdict.severity, verdict.numbers["epoch"]) == ("note", 0.41)
    # the last tenth is 4 of 40: e^(-36/5) to e^(-39/5), below 0.001, so the median is the floor
    assert np.isclose(float(verdict.numbers["loss"]), 0.02, atol=0.001)
    assert isinstance(examine(_reward_model(0.4, 0.41), [reward_saturated]).verdicts[0], Clear)
    assert isinstance(examine(_reward_model(0.02, 3.0), [reward_saturated]).verdicts[0], Clear)
    assert isinstance(examine(_reward_model(0.02, 0.0), [reward_saturated]).verdicts[0], NotAssessable)


def _held(values: list[float], **config: int) -> History:
    steps = range(10, 10 * len(values) + 1, 10)
    return history(config, eval_rewards__accuracies=(steps, values), rewards__margins=(STEPS, list(ALONG)))


def test_held_out_accuracy_beyond_binomial_noise() -> None:
    # 0.75 -> 0.57 over 500 pairs: sd = sqrt(2 x 0.66 x 0.34 / 500) = 0.030, so 0.14 between thirds is 4.8 sd
    falling = [0.76, 0.74, 0.70, 0.67, 0.66, 0.62, 0.60, 0.57]
    (verdict,) = examine(_held(falling, eval_examples=500), [eval_accuracy_falls]).verdicts
    assert isinstance(verdict, Finding)
    assert np.isclose(float(verdict.numbers["binomial_sd"]), 0.030, atol=0.001)
    assert isinstance(examine(_held(falling, eval_examples=15), [eval_accuracy_falls]).verdicts[0], Clear)


def test_three_evaluations_over_thirty_pairs_say_nothing() -> None:
    assert isinstance(examine(_held([20 / 30, 19 / 30, 17 / 30]), [eval_accuracy_falls]).verdicts[0], NotAssessable)


def test_the_number_of_pairs_is_told_from_the_values() -> None:
    falling = [count / 30 for count in (20, 19, 19, 18, 17, 17)]
    (verdict,) = examine(_held(falling), [eval_accuracy_falls]).verdicts
    assert isinstance(verdict, Clear)  # 0.65 -> 0.567 is 0.7 sd of sqrt(2 x 0.61 x 0.39 / 30) = 0.126
    assert verdict.numbers["pairs"] == 30
