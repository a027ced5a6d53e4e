"""One window per step, and replay up to a number of tokens."""

from typing import Any

import numpy as np
import pytest

from ontogeny.core.recipe_train import Train
from ontogeny.data import part_counts
from ontogeny.data.batch_plans import RepeatedPlan, describe_parts, make_plan, planned_epochs, realised_shares
from ontogeny.data.orders.sequential import Sequential
from ontogeny.data.orders.shuffled import Shuffled
from ontogeny.data.window_plan import WindowPlan

WINDOWS, OLD, OTHER = range(10), range(10, 20), range(20, 30)


def plan(percent: float, tokens: int, lengths: Any, order: Any = None, both: bool = False, **train: Any) -> WindowPlan:
    mixing = {"percentage_window": percent, "max_tokens": tokens, **train.pop("mixing", {})}
    replay = {"old": (OLD, 0.75), "other": (OTHER, 0.25)} if both else {"old": (OLD, 1.0)}
    settings = Train(epochs=2, batch=1, mixing=mixing, order=order or Sequential(), **train)
    made = make_plan(settings, lengths, replay)
    assert isinstance(made, WindowPlan)
    return made


def test_a_quarter_of_every_step() -> None:
    """Windows of 64 of 256 tokens: 192 are left for six passages of 32."""
    made = plan(25, 256, [64] * 10 + [32] * 10)
    for step in range(25):
        batch = made.batch_at(step)
        assert batch[0] == step % 10
        assert len(batch) == 7
        assert (batch[1:] >= 10).all()
        assert realised_shares(made, step) == {"replayed_old": 0.75}
    assert made.tokens_through(25) == 25 * 256
    assert made.steps_per_epoch == made.epoch_at(25) * 4 == 10
    twenty = np.concatenate([made.batch_at(step)[1:] for step in range(5)])
    assert (np.bincount(twenty, minlength=20)[10:] == 3).all()  # 30 passages: each of ten three times


def test_a_passage_that_does_not_fit_waits() -> None:
    """Windows of 24 leave 40 of 64 tokens; passages have 25, so one fits: 49 tokens per step."""
    made = plan(37.5, 64, [24] * 10 + [25] * 10)
    assert [len(made.batch_at(step)) for step in range(4)] == [2] * 4
    assert realised_shares(made, 0)["replayed_old"] == pytest.approx(25 / 49)
    assert "62.5% asked, 51.0% of tokens: 100 tokens in 4 passages" in describe_parts(made, 4)["old"]


def test_never_above_and_close_below() -> None:
    """Passages of 5 to 40 tokens: a step falls short of 200 by less than the passage that waits."""
    lengths = np.concatenate([[100] * 10, np.random.default_rng(0).integers(5, 41, 20)])
    made = plan(50, 200, lengths, order=Shuffled(), both=True)
    for step in range(60):
        size = made.tokens_through(step + 1) - made.tokens_through(step)
        assert 160 < size <= 200
        assert size == lengths[made.batch_at(step)].sum()
    new, old, other = made.composition(60)
    assert old.tokens / (old.tokens + other.tokens) == pytest.approx(0.75, abs=0.02)
    assert (new.share, old.share, other.share) == (0.5, 0.375, 0.125)
    assert new.epochs == 6


def test_the_plan_is_a_function_of_the_step() -> None:
    """The order of queries makes no difference."""
    lengths = np.concatenate([[64] * 10, np.random.default_rng(1).integers(10, 40, 20)])
    forward, backward = (plan(25, 256, lengths, order=Shuffled(), both=True) for _ in range(2))
    batches = [forward.batch_at(step).tolist() for step in range(30)]
    assert [backward.batch_at(step).tolist() for step in reversed(range(30))] == batches[::-1]


def test_lengths_of_training() -> None:
    """256 tokens per step, 64 of them in the window."""
    made = plan(25, 256, [64] * 10 + [32] * 10)
    assert made.steps_for(Train(steps=7)) == 7
    assert made.steps_for(Train(epochs=2, batch=1)) == 20
    assert made.steps_for(Train(tokens=257, batch=1)) == 2
    new = plan(25, 256, [64] * 10 + [32] * 10, mixing={"budget": "new"})
    assert new.steps_for(Train(tokens=129, batch=1)) == 3


def test_repeated() -> None:
    mixing = {"percentage_window": 25, "max_tokens": 256}
    made = make_plan(Train(epochs=1, batch=1, repeats=2, mixing=mixing), [64] * 10 + [32] * 10, {"old": (OLD, 1.0)})
    assert isinstance(made, RepeatedPlan)
    assert np.array_equal(made.batch_at(0), made.batch_at(1))
    assert realised_shares(made, 1) == {"repeat": 1.0, "replayed_old": 0.75}


def test_a_replay_corpus_without_a_share_never_comes() -> None:
    settings = Train(epochs=2, batch=1, mixing={"percentage_window": 25, "max_tokens": 256}, order=Sequential())
    made = make_plan(settings, [64] * 10 + [32] * 20, {"old": (OLD, 0.0), "other": (OTHER, 1.0)})
    assert all(set(made.batch_at(step)[1:]) <= set(OTHER) for step in range(10))


def test_windows_without_end_are_described_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of one window of 64 and six passages of 32 tokens, 256 in all: 1e15 tokens are 3,906,250,000,000 steps."""
    monkeypatch.setattr(part_counts, "COUNTED_EXAMPLES", 700)
    made = plan(25, 256, [64] * 10 + [32] * 10)
    train = Train(tokens=10**15, batch=1, mixing={"percentage_window": 25, "max_tokens": 256})
    assert made.steps_for(train) == 3_906_250_000_000
    assert planned_epochs(made, 10**10) == 10**9  # ten windows
    assert "640,000,000,000 tokens in 10,000,000,000 passages" in describe_parts(made, 10**10)["new"]
