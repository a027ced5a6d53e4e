import numpy as np
import pytest

from ontogeny.core.errors import DataError
from ontogeny.core.orders import Examples, Order
from ontogeny.core.recipe_train import Train
from ontogeny.data.epoch_plan import EpochPlan
from ontogeny.data.orders.sequential import Sequential
from ontogeny.data.orders.shuffled import Shuffled

LENGTHS = [10, 20, 30, 40, 50]


def batches(plan: EpochPlan, steps: int) -> list[list[int]]:
    return [plan.batch_at(step).tolist() for step in range(steps)]


def test_an_epoch_ends_at_a_step() -> None:
    plan = EpochPlan(Sequential(), LENGTHS, batch=2, seed=0)
    assert plan.steps_per_epoch == 3  # 2 + 2 + 1
    assert batches(plan, 6) == [[0, 1], [2, 3], [4], [0, 1], [2, 3], [4]]
    assert plan.batch_at(0).dtype == np.int64
    assert [plan.epoch_at(step) for step in (0, 3, 4)] == [0.0, 1.0, 4 / 3]


def test_tokens_through_counts_the_batches_before() -> None:
    plan = EpochPlan(Sequential(), LENGTHS, batch=2, seed=0)
    # Batches of 30, 70, 50 tokens; an epoch has 150.
    assert [plan.tokens_through(step) for step in range(8)] == [0, 30, 100, 150, 180, 250, 300, 330]


def test_tokens_through_agrees_with_adding_up_shuffled_batches() -> None:
    plan = EpochPlan(Shuffled(), LENGTHS, batch=2, seed=3)
    total = 0
    for step in range(20):
        assert plan.tokens_through(step) == total
        total += sum(LENGTHS[i] for i in plan.batch_at(step))


def test_every_epoch_holds_every_example_once() -> None:
    plan = EpochPlan(Shuffled(), np.ones(23, dtype=int), batch=4, seed=0)
    for epoch in range(5):
        examples = [i for step in range(6) for i in plan.batch_at(epoch * 6 + step)]
        assert sorted(examples) == list(range(23))


def test_batch_at_is_a_pure_function_of_the_step() -> None:
    forward, backward = (EpochPlan(Shuffled(), [1] * 23, batch=4, seed=5) for _ in range(2))
    steps = list(range(60))
    expected = {step: forward.batch_at(step).tolist() for step in steps}
    assert {step: backward.batch_at(step).tolist() for step in reversed(steps)} == expected
    forward.batch_at(0)[:] = -1  # a caller that changes its batch changes no later one
    assert forward.batch_at(0).tolist() == expected[0]


def test_other_seeds_and_epochs_give_other_orders() -> None:
    first, second = (EpochPlan(Shuffled(), [1] * 50, batch=50, seed=seed) for seed in (0, 1))
    assert first.batch_at(0).tolist() != second.batch_at(0).tolist()
    assert first.batch_at(0).tolist() != first.batch_at(1).tolist()


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ({"steps": 7}, 7),
        ({"epochs": 2}, 6),
        ({"epochs": 0.5}, 2),  # 1.5 steps
        ({"epochs": 1e-6}, 1),
        ({"tokens": 1}, 1),
        ({"tokens": 30}, 1),  # the first batch reaches them
        ({"tokens": 31}, 2),
        ({"tokens": 150}, 3),
        ({"tokens": 151}, 4),
        ({"tokens": 1500}, 30),
    ],
)
def test_steps_for(length: dict[str, float], steps: int) -> None:
    plan = EpochPlan(Sequential(), LENGTHS, batch=2, seed=0)
    assert plan.steps_for(Train(**length)) == steps  # type: ignore[arg-type]


def test_accumulation_does_not_change_the_batches() -> None:
    whole, parts = (Train(steps=9, batch=4, accumulate=n) for n in (1, 4))
    plans = [EpochPlan(Shuffled(), LENGTHS, batch=train.batch, seed=train.seed) for train in (whole, parts)]
    assert batches(plans[0], 9) == batches(plans[1], 9)


def test_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match=r"nothing to train on: data.train takes no passage"):
        EpochPlan(Sequential(), [], batch=2, seed=0)


def test_an_order_that_leaves_examples_out_is_a_defect() -> None:
    class Half(Order):
        def epoch(self, number: int, examples: Examples, seed: int) -> np.ndarray:
            return np.arange(len(examples) // 2)

    with pytest.raises(ValueError, match=r"gave \(2,\) indices for 5 examples"):
        EpochPlan(Half(), LENGTHS, batch=2, seed=0).batch_at(0)


def test_a_training_without_end_is_counted_at_once() -> None:
    plan = EpochPlan(Sequential(), LENGTHS, batch=2, seed=0)
    # 1e15 steps are 333,333,333,333,333 epochs of 3 steps and 150 tokens, and one step of 30 tokens
    assert plan.tokens_through(10**15) == 333_333_333_333_333 * 150 + 30
    # the first step that reaches 1e15 tokens: 6,666,666,666,666 epochs have 999,999,999,999,900, two batches the rest
    train = Train(tokens=10**15, batch=2, lr=0.1)
    assert plan.steps_for(train) == 6_666_666_666_666 * 3 + 2
