"""Repeats of batches."""

import numpy as np
import pytest

from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.data import part_counts
from ontogeny.data.batch_plans import (
    BatchPlan,
    RepeatedPlan,
    change_shares,
    count_anew,
    describe_parts,
    make_plan,
    planned_epochs,
    realised_shares,
    replay_gaps,
    shares_at,
)
from ontogeny.data.epoch_plan import EpochPlan
from ontogeny.data.orders.sequential import Sequential
from tests.cpu_time import cpu_seconds

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


def test_plans_of_any_length_are_described_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of every batch of 8 is old, all examples have 10 tokens: 60 new and 20 old ones a step.

    1e15 tokens are 12,500,000,000,000 batches of 80. 1e10 steps see 6e10 new examples, of which there are 40.
    """
    monkeypatch.setattr(part_counts, "COUNTED_EXAMPLES", 800)
    for repeats in (1, 5):
        train = Train(tokens=10**15, batch=8, repeats=repeats)
        plan = make_plan(train, [10] * 70, {"old": (range(40, 70), 0.25)})

        def check(plan: BatchPlan = plan, train: Train = train, repeats: int = repeats) -> None:
            assert plan.steps_for(train) == 12_500_000_000_000
            assert planned_epochs(plan, 10**10) == 1.5e9 / repeats
            tokens, passages = 600_000_000_000 // repeats, 60_000_000_000 // repeats
            described = describe_parts(plan, 10**10)["new"]
            assert f"{tokens:,} tokens in {passages:,} passages" in described
            assert ("each batch 5 times in a row" in described, "times" in described) == (repeats == 5, repeats == 5)

        assert cpu_seconds(check) < 20  # measured: 0.5; counted one by one, years


def test_a_repeated_batch_of_endless_repeats() -> None:
    """12 tokens in the first batch of two: 1e15 tokens are 83,333,333,333,333.3 repeats of it."""
    plan = RepeatedPlan(EpochPlan(Sequential(), LENGTHS, batch=2, seed=0), 10**14)
    assert plan.steps_for(Train(tokens=10**15, batch=2)) == 83_333_333_333_334


def test_lengths_up_to_the_bound_are_counted_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extrapolated from the first 20 examples, 100 steps would be a few off; counted, they are not."""
    lengths = list(range(1, 71))
    train = Train(tokens=3000, batch=2)
    exact = make_plan(train, lengths, {"old": (range(40, 70), 0.25)}).steps_for(train)
    monkeypatch.setattr(part_counts, "COUNTED_EXAMPLES", 20)
    counted = make_plan(train, lengths, {"old": (range(40, 70), 0.25)})
    assert counted.steps_for(train) == exact
    assert counted.tokens_through(exact - 1) < 3000 <= counted.tokens_through(exact)
    monkeypatch.setattr(part_counts, "MOST_COUNTED_EXAMPLES", 20)
    assert make_plan(train, lengths, {"old": (range(40, 70), 0.25)}).steps_for(train) != exact


def test_a_length_counted_in_what_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """New text has 1e-9 of every batch: in the first 200 examples there is none of it."""
    monkeypatch.setattr(part_counts, "COUNTED_EXAMPLES", 200)
    train = Train(tokens=100, batch=8, mixing={"budget": "new", "counts": "expected"})
    plan = make_plan(train, [10] * 70, {"old": (range(40, 70), 1 - 1e-9)})
    with pytest.raises(DataError, match="nothing comes in the first 25 steps: give the length in steps"):
        plan.steps_for(train)
