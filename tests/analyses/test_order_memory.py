"""Anticipation and places are found where they are planted; forgetting and noise are no memory of an order."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ontogeny.analyses.order_memory import OrderMemory
from ontogeny.analyses.recorded.trained_batches import TrainedBatches
from ontogeny.statistics.correlations import rank_correlation_of_series

ITEMS, EPOCHS = 48, 4


def cyclic(
    curve: Any = None, *, seed: int = 0, noise: float = 0.05, shuffled: bool = False, items: int = ITEMS
) -> TrainedBatches:
    """Four epochs of 48 batches, 12 looks in each. `curve` of (steps since the last visit, steps until the next one)
    over the steps of an epoch: nats. All text gets 0.1 nats better per epoch, and batches differ by 0.5.
    """
    random = np.random.default_rng(seed)
    orders = [random.permutation(items) for _ in range(EPOCHS)]
    order = np.concatenate(orders if shuffled else [orders[0]] * EPOCHS)
    step = np.arange(0, items * EPOCHS + 1, items // 12)
    visits = np.stack([np.flatnonzero(order == item) for item in range(items)])
    level = random.normal(4, 0.5, items)
    nll = np.empty((len(step), items))
    for row, s in enumerate(step if curve else ()):
        for item in range(items):
            last, coming = visits[item][visits[item] < s], visits[item][visits[item] >= s]
            since = (s - last[-1] - 1) / items if len(last) else 1.0
            until = (coming[0] - s) / items if len(coming) else 1.0
            nll[row, item] = level[item] - 0.1 * s / items + curve(since, until)
    if curve is None:
        nll = level - 0.1 * step[:, None] / items
    nll = (nll + random.normal(0, noise, nll.shape))[:, order]
    first = np.array([int(np.flatnonzero(order == item)[0]) for item in order])
    zeros = np.zeros((1, len(order)))
    return TrainedBatches(
        step=step,
        trained_at=np.arange(len(order)),
        nll=nll,
        before=zeros,
        after=zeros,
        novel=None,
        epochs=float(EPOCHS),
        place=order.astype(float),
        content=first,
    )


def forgetting(since: float, until: float) -> float:
    """0.3 nats are lost within a fifth of an epoch."""
    return 0.3 * (1 - np.exp(-since / 0.2))


def anticipating(since: float, until: float) -> float:
    """0.1 nats come back just before the next visit."""
    return forgetting(since, until) - 0.1 * np.exp(-until / 0.1)


def ar(random: np.random.Generator, count: int, rho: float) -> np.ndarray:
    """An AR(1) series with variance 1."""
    shocks = random.normal(size=count + 300)
    for i in range(1, len(shocks)):
        shocks[i] = rho * shocks[i - 1] + np.sqrt(1 - rho**2) * shocks[i]
    return shocks[300:]


def test_anticipation_is_found_and_is_more_than_the_control_has() -> None:
    """In the last tenth 0.1 x the mean of exp(-u / 0.1) over u from 0 to 0.1, which is 0.063, comes back. The middle
    forgot less, by 0.3 x (mean of exp(-s / 0.2) over 0.25 to 0.75 = 0.105, less that over 0.9 to 1 = 0.009) = 0.029,
    and anticipates 0.1 x (mean of exp(-u / 0.1) over 0.25 to 0.75 = 0.016) = 0.002: 0.063 - 0.029 - 0.002 = 0.032.
    """
    found = OrderMemory().judge(cyclic(anticipating), cyclic(forgetting, seed=1, shuffled=True))
    one = found.numbers["anticipation"]
    assert one["value"] == pytest.approx(0.032, abs=0.015)
    assert one["low"] > 0
    assert one["p"] < 0.05
    assert one["control"]["value"] < 0
    assert one["control"]["difference"]["low"] > 0
    assert found.verdict.startswith("anticipatory recovery")
    assert len(one["curve"]["since"]) == 10


def test_a_fall_that_the_control_has_too_is_not_of_the_order() -> None:
    """Losses that fall late by themselves, whether or not the batch comes again soon."""

    def late(since: float, until: float) -> float:
        return -0.3 * max(since - 0.75, 0)

    found = OrderMemory().judge(cyclic(late), cyclic(late, seed=1, shuffled=True))
    assert found.numbers["anticipation"]["low"] > 0
    assert "not more than in the control" in found.verdict
    alone = OrderMemory().judge(cyclic(late))
    assert "whether by the order: not assessable, lacks a control" in alone.verdict


def test_forgetting_alone_is_no_memory_of_the_order() -> None:
    found = OrderMemory().judge(cyclic(forgetting), cyclic(forgetting, seed=1, shuffled=True))
    assert found.numbers["anticipation"]["value"] < 0
    assert found.verdict.startswith("no memory of the order was found: the loss rises until a batch comes again")


def test_white_noise_finds_nothing() -> None:
    """200 draws at 5%: 10 expected, standard deviation 3.1; 20 or more have a probability of 0.3%. The adjusted p of
    three tests together, and the claim alone that the control differs.
    """
    claims = anticipations = 0
    for seed in range(200):
        found = OrderMemory(seed=seed).judge(cyclic(seed=seed, noise=0.3, items=24), None)
        claims += not found.verdict.startswith("no memory of the order was found") or "gain goes" in found.verdict
        one = found.numbers["anticipation"]
        anticipations += one.get("low", -1) > 0 or one.get("high", 1) < 0
    assert claims <= 19
    assert anticipations <= 19


def once(gain: np.ndarray, order: np.ndarray) -> TrainedBatches:
    """One epoch in that order; gains by place in training."""
    count = len(order)
    nll = np.stack([np.full(count, 5.0), 5.0 - gain])
    zeros = np.zeros((1, count))
    return TrainedBatches(
        step=np.array([0, count]),
        trained_at=np.arange(count),
        nll=nll,
        before=zeros,
        after=zeros,
        novel=None,
        epochs=1.0,
        place=order.astype(float),
        content=np.arange(count),
    )


@pytest.mark.parametrize("what", ["training", "text"])
def test_places_are_taken_apart_in_a_shuffled_run(what: str) -> None:
    random = np.random.default_rng(3)
    order = random.permutation(80)
    planted = np.arange(80) if what == "training" else order
    found = OrderMemory().judge(once(planted / 80 + random.normal(0, 0.2, 80), order)).numbers["places"]
    other = "text" if what == "training" else "training"
    assert found[what]["value"] > 0.6
    assert found[what]["p"] < 0.01
    assert found[what]["low"] > 0.4
    assert found[other]["low"] < 0 < found[other]["high"]


def test_places_that_are_one_are_not_told_apart() -> None:
    random = np.random.default_rng(3)
    found = OrderMemory().judge(once(np.arange(80) / 80 + random.normal(0, 0.2, 80), np.arange(80)))
    assert "both" in found.numbers["places"]
    assert "this is no evidence of order: train with order: shuffled" in found.verdict
    assert "not assessable, lacks batches that come three times" in found.sentences[-1]


def test_a_shuffled_control_tells_what_a_sequence_cannot() -> None:
    """In both runs gain goes with the text alone."""
    random = np.random.default_rng(3)
    order = random.permutation(80)
    sequence, shuffled = (once(one / 80 + random.normal(0, 0.2, 80), one) for one in (np.arange(80), order))
    found = OrderMemory().judge(sequence, shuffled)
    assert found.verdict.endswith("control not with the place in training, with the place in the text")


def test_rank_correlation_by_hand() -> None:
    """Ranks 1 2 3 4 against 1 2 4 3: 1 - 6 x (0 + 0 + 1 + 1) / (4 x 15) = 0.8."""
    gain, place = np.array([0.1, 0.2, 0.9, 0.3]), np.array([10.0, 20.0, 30.0, 40.0])
    assert rank_correlation_of_series(gain, place, None)["value"] == pytest.approx(0.8)


@pytest.mark.parametrize(("count", "rho"), [(88, 0.5), (88, 0.8), (660, 0.8), (660, 0.95)])
def test_noise_of_neighbours_is_not_taken_for_a_trend(count: int, rho: float) -> None:
    """Gains that follow their neighbours: of 200 draws at 5% 10 expected, 19 or more have a probability of 0.6%."""
    found = 0
    for seed in range(200):
        gain = ar(np.random.default_rng(seed), count, rho)
        found += rank_correlation_of_series(gain, np.arange(float(count)), None).get("p", 1.0) < 0.05
    assert found <= 18


def test_a_place_is_found_below_noise_of_neighbours() -> None:
    """A trend of three standard deviations over 660 batches, neighbours alike by 0.8: found in 18 of 20 at least."""
    found = 0
    for seed in range(20):
        gain = ar(np.random.default_rng(seed), 660, 0.8) + np.linspace(0, 3, 660)
        found += rank_correlation_of_series(gain, np.arange(660.0), None).get("p", 1.0) < 0.05
    assert found >= 18


def test_a_run_that_learns_nothing_is_not_assessable() -> None:
    """Learning rate 0: all gains are 0, exactly."""
    still = once(np.zeros(80), np.arange(80))
    found = OrderMemory().judge(still)
    assert found.verdict == "not assessable: lacks any difference between gains"
    assert "p" not in found.numbers["places"]["both"]
    cycle = cyclic(lambda since, until: 0.0, noise=0.0)
    level = replace(cycle, nll=np.repeat(cycle.nll[:1], len(cycle.step), axis=0))
    found = OrderMemory().judge(level, level)
    assert found.verdict == "not assessable: lacks any difference between gains"
    assert found.numbers["anticipation"]["lacks"] == "any difference between losses"


def test_batches_whose_loss_is_no_number_are_left_out_and_named() -> None:
    gain = np.random.default_rng(0).normal(size=80)
    gain[4] = np.nan
    found = OrderMemory().judge(once(gain, np.arange(80)))
    assert found.numbers["n"] == 79
    assert found.sentences[0].startswith("left out: 1 of 80 batches, whose loss is no number (trained on at steps 4;")
    assert found.numbers["places"]["both"]["p"] > 0.01


def test_what_is_lacking() -> None:
    batches = cyclic(forgetting)
    few = replace(
        batches,
        trained_at=batches.trained_at[:10],
        nll=batches.nll[:, :10],
        before=batches.before[:, :10],
        after=batches.after[:, :10],
        place=batches.place[:10],
        content=batches.content[:10],
    )
    assert OrderMemory().judge(few).verdict == (
        "not assessable: lacks 20 different batches or more: there are 10; let the ledger follow a larger share"
    )
    old = replace(batches, place=None, content=None)
    assert "which ledgers of earlier versions do not hold: train again" in OrderMemory().judge(old).verdict
    rarely = replace(batches, step=batches.step[::6], nll=batches.nll[::6])
    assert "let the ledger look more often" in OrderMemory().judge(rarely).numbers["anticipation"]["lacks"]


def test_batches_without_a_loss_leave_the_epoch_as_long_as_it_is() -> None:
    """Six of 48 batches have no loss at three looks: the cycle is 48 steps still, and the recovery is where it was."""
    batches = cyclic(anticipating)
    holes = batches.nll.copy()
    rows = np.array([15, 20, 30])  # between the first and the last epoch, which end at looks 12 and 36
    columns = np.flatnonzero(np.isin(batches.content, np.arange(6)))
    holes[np.ix_(rows, columns)] = np.nan
    whole, found = (OrderMemory().judge(one).numbers["anticipation"] for one in (batches, replace(batches, nll=holes)))
    assert (found["n"], found["steps"]) == (42, 48)
    assert found["value"] == pytest.approx(whole["value"], abs=0.01)
    assert found["low"] > 0


def test_a_control_that_diverged_is_not_assessable() -> None:
    control = cyclic(forgetting, seed=1, shuffled=True)
    lost = control.nll.copy()
    lost[20:] = np.nan
    found = OrderMemory().judge(cyclic(anticipating), replace(control, nll=lost))
    assert "lacks batches whose losses are numbers" in found.verdict
    assert any(
        "control: gain and place in training: not assessable, lacks 20 batches" in one for one in found.sentences
    )


def test_batches_without_places_are_not_assessable() -> None:
    batches = cyclic(anticipating)
    assert batches.place is not None
    found = OrderMemory().judge(replace(batches, place=np.full_like(batches.place, np.nan)))
    lack = (
        "gain and place in training: not assessable, lacks 20 batches or more with a place in the text and losses that "
        "are numbers: there is none; let the ledger follow a larger share"
    )
    assert any(lack in one for one in found.sentences)
