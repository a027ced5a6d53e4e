"""Repeats of batches."""

import numpy as np
import pytest

from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.data.batch_plans import (
    RepeatedPlan,
    change_shares,
    count_anew,
    describe_parts,
    make_plan,
    realised_shares,
    replay_gaps,
    shares_at,
)
from ontogeny.data.epoch_plan import EpochPlan
from ontogeny.data.orders.sequential import Sequential

LENGTHS = [5, 7, 9, 11, 13]


def test_each_batch_three_times_in_a_row() -> None:
    """Batches of two of five examples: 0 1, 2 3, 4; 12, 20 and 13 tokens."""
    plan = RepeatedPlan(EpochPlan(Sequential(), LENGTHS, batch=2, seed=0), 3)
    assert [plan.batch_at(step).tolist() for step in range(10)] == [*[[0, 1]] * 3, *[[2, 3]] * 3, *[[4]] * 3, [0, 1]]
    assert [plan.repeat_at(step) for step in range(5)] == [0, 1, 2, 0, 1]
    assert plan.steps_per_epoch == 9
    assert plan.epoch_at(9) == 1
    assert plan.epoch_at(1) == 1 / 9
    assert [plan.tokens_through(step) for step in (0, 1, 3, 4, 9)] == [0, 12, 36, 56, 135]


def test_lengths_of_training() -> None:
    plan = RepeatedPlan(EpochPlan(Sequential(), LENGTHS, batch=2, seed=0), 3)
    assert plan.steps_for(Train(steps=7)) == 7
    assert plan.steps_for(Train(epochs=2, batch=2)) == 18
    for wanted in (1, 12, 13, 36, 37, 135, 136, 500):
        step = plan.steps_for(Train(tokens=wanted, batch=2))
        assert plan.tokens_through(step - 1) < wanted <= plan.tokens_through(step)


def test_shares_decided_within_repeats_hold_from_the_next_batch_on() -> None:
    """Batches of two, one of them replayed, each batch three times; share 0 decided at step 4 holds from step 6 on."""
    plan = make_plan(Train(epochs=1, batch=2, repeats=3), LENGTHS, {"old": (range(3, 5), 0.5)})
    change_shares(plan, 4, {"old": 0.0})
    assert [int((plan.batch_at(step) >= 3).sum()) for step in range(9)] == [1] * 6 + [0] * 3
    assert shares_at(plan, 5) == {"old": 0.5}
    assert shares_at(plan, 6) == {"old": 0.0}


def test_gaps_between_decided_and_realised_replay() -> None:
    """Batches of one: 0.1 is decided. After 4 steps 0.4 examples are owed and none was replayed; after 10, one of one.
    Repeats count as one batch; where nobody decides, nothing is told.
    """
    replay = {"old": (range(3, 5), 0.2)}
    plan = make_plan(Train(epochs=1, batch=1), LENGTHS, replay)
    assert replay_gaps(plan, 1) == {}
    change_shares(plan, 0, {"old": 0.1})
    assert replay_gaps(plan, 0) == {}
    assert replay_gaps(plan, 4) == {"old": {"decided": pytest.approx(0.1), "realised": 0.0}}
    assert replay_gaps(plan, 10) == {}
    assert realised_shares(plan, 4)["replayed_examples_old"] == 0  # 0.5 owed to either: new text comes first
    assert realised_shares(plan, 5)["replayed_examples_old"] == 1
    change_shares(plan, 10, {"old": 0.0})
    assert replay_gaps(plan, 12) == {}  # 1 of 12, and 0.1 x 10 / 12 decided
    repeated = make_plan(Train(epochs=1, batch=1, repeats=3), LENGTHS, replay)
    change_shares(repeated, 0, {"old": 0.1})
    assert set(replay_gaps(repeated, 12)) == {"old"}
    assert replay_gaps(repeated, 30) == {}
    assert replay_gaps(make_plan(Train(epochs=1), LENGTHS, {}), 4) == {}
    assert set(realised_shares(make_plan(Train(epochs=1, batch=1), LENGTHS, replay), 4)) == {"replayed_old"}


def test_runs_of_earlier_versions_keep_their_batches() -> None:
    """Counted anew at each decision, 0.1 of batches of one is never replayed; no gap is told of what is history."""
    plan = make_plan(Train(epochs=1, batch=1, repeats=2), LENGTHS, {"old": (range(3, 5), 0.2)})
    count_anew(plan)
    for step in range(0, 60, 2):
        change_shares(plan, step, {"old": 0.1})
    assert all(plan.batch_at(step)[0] < 3 for step in range(60))
    assert replay_gaps(plan, 60) == {}
    assert "replayed_examples_old" not in realised_shares(plan, 4)


def test_without_replay_there_is_no_share_to_decide() -> None:
    plan = make_plan(Train(epochs=1), LENGTHS, {})
    assert shares_at(plan, 0) == {}
    with pytest.raises(DataError, match="no share of old can be decided here"):
        change_shares(plan, 0, {"old": 0.1})


def test_the_recipe_chooses_the_plan() -> None:
    assert type(make_plan(Train(epochs=1), LENGTHS, {})) is EpochPlan
    made = make_plan(Train(epochs=1, batch=2, repeats=2), LENGTHS, {"old": (range(3, 5), 0.5)})
    assert isinstance(made, RepeatedPlan)
    assert np.array_equal(made.batch_at(0), made.batch_at(1))
    assert describe_parts(made, 4)["old"].startswith("50.0% asked")
    assert describe_parts(make_plan(Train(epochs=1), LENGTHS, {}), 4) == {}
