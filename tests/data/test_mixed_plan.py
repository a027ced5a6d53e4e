"""New and replayed text in every batch."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ontogeny.core.errors import DataError
from ontogeny.core.recipe_train import Train
from ontogeny.data.mixed_plan import MixedPlan
from ontogeny.data.orders.sequential import Sequential
from ontogeny.data.orders.shuffled import Shuffled

LENGTHS = np.random.default_rng(0).integers(10, 100, 70)
NEW, OLD = range(40), range(40, 70)
RECORDED = {"examples": "ae48db44b64e8b59", "tokens": "c5c817efac04f64b", "expected": "a4f8becd22cf1164"}


def plan(share: float = 0.25, batch: int = 8, seed: int = 0, order: Any = None, **mixing: Any) -> MixedPlan:
    train = Train(epochs=3, batch=batch, seed=seed, mixing=mixing)
    return MixedPlan(order or Sequential(), LENGTHS, {"old": (OLD, share)}, train)


def replayed(made: MixedPlan, steps: int) -> np.ndarray:
    """Replayed examples in each batch."""
    return np.array([(made.batch_at(step) >= 40).sum() for step in range(steps)])


def test_a_quarter_of_every_batch_of_eight() -> None:
    """0.25 x 8 = 2: exactly two in every batch, and new text goes on where it stopped, 6 at a time."""
    made = plan()
    assert (replayed(made, 50) == 2).all()
    new = np.concatenate([made.batch_at(step)[:6] for step in range(20)])
    assert new.tolist() == [i % 40 for i in range(120)]
    old = np.concatenate([made.batch_at(step)[6:] for step in range(15)])
    assert sorted(old) == list(OLD)  # each of the 30 once before any comes again


@pytest.mark.parametrize("share", [0.01, 0.1, 1 / 3, 0.5, 0.9])
def test_exact_shares_are_never_more_than_one_example_away(share: float) -> None:
    counts = np.cumsum(replayed(plan(share, batch=5), 200))
    expected = share * 5 * np.arange(1, 201)
    assert np.abs(counts - expected).max() <= 1


@pytest.mark.parametrize("share", [0.1, 0.25, 0.7])
def test_shares_of_tokens(share: float) -> None:
    """After every batch, replayed tokens differ from their share of all tokens by at most the longest passage."""
    made = plan(share, by="tokens")
    for step in range(1, 120):
        _, old = made.composition(step)
        assert abs(old.tokens - share * made.tokens_through(step)) <= 100
    assert sum(made.token_shares(5).values()) == pytest.approx(1)


def test_expected_shares_vary_about_the_mean() -> None:
    """1,600 draws at 0.25: standard deviation of the mean 0.011."""
    counts = replayed(plan(counts="expected"), 200)
    assert len(set(counts)) > 3
    assert counts.mean() / 8 == pytest.approx(0.25, abs=0.04)
    assert (replayed(plan(counts="expected"), 200) == counts).all()
    assert (replayed(plan(counts="expected", seed=1), 200) != counts).any()


def test_the_plan_is_a_function_of_the_step() -> None:
    """The order of queries makes no difference."""
    for mixing in ({}, {"by": "tokens"}, {"counts": "expected"}):
        forward, backward = (plan(order=Shuffled(), **mixing) for _ in range(2))
        steps = range(60)
        expected = [forward.batch_at(step).tolist() for step in steps]
        assert [backward.batch_at(step).tolist() for step in reversed(steps)] == expected[::-1]


def test_budgets() -> None:
    """40 new examples, batches of 8, three epochs.

    Compute: 15 steps, as without replay. New: 6 new examples per step, so 3 x 40 are seen after 20 steps.
    """
    train = Train(epochs=3, batch=8)
    assert plan().steps_for(train) == 15
    assert plan().epoch_at(15) == pytest.approx(15 * 6 / 40)
    made = plan(budget="new")
    assert made.steps_for(train) == 20
    assert made.epoch_at(20) == 3
    tokens = Train(tokens=2000, batch=8)
    step = plan(0.5, budget="new").steps_for(tokens)
    new = [plan(0.5, budget="new").composition(at)[0].tokens for at in (step - 1, step)]
    assert new[0] < 2000 <= new[1]
    step = plan(0.5).steps_for(tokens)
    assert plan(0.5).tokens_through(step - 1) < 2000 <= plan(0.5).tokens_through(step)


def test_pure_replay() -> None:
    made = plan(1.0)
    assert (replayed(made, 10) == 8).all()
    assert made.steps_for(Train(epochs=3, batch=8)) == 15


def test_tokens_are_those_of_the_batches() -> None:
    made = plan(0.3)
    assert made.tokens_through(7) == sum(int(LENGTHS[made.batch_at(step)].sum()) for step in range(7))
    assert sum(part.tokens for part in made.composition(7)) == made.tokens_through(7)


def test_several_corpora() -> None:
    train = Train(epochs=1, batch=10)
    made = MixedPlan(Sequential(), LENGTHS, {"a": (range(40, 50), 0.2), "b": (range(50, 70), 0.3)}, train)
    counts = np.zeros(3)
    for step in range(100):
        batch = made.batch_at(step)
        counts += [(batch < 40).sum(), ((batch >= 40) & (batch < 50)).sum(), (batch >= 50).sum()]
    assert counts.tolist() == [500, 200, 300]


def test_a_run_records_what_it_mixed(tmp_path: Path) -> None:
    from ontogeny.core.recipe_file import validate
    from ontogeny.runs.execute import execute
    from ontogeny.store.run import open_run
    from tests.small_runs import tree, write_text

    content = tree(write_text(tmp_path / "words"), measures=[])
    content["data"]["replay"] = {"old": {"of": "words/novel", "count": 4, "share": 0.5}}
    content["train"] |= {"repeats": 2, "batch": 8, "accumulate": 1}
    content["data"]["probes"] = {}
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path))
    shares = run.series("replayed_old", "train")["value"]
    assert 0.3 < shares.mean() < 0.7
    assert run.series("repeat", "train")["value"].tolist()[:4] == [0, 1, 0, 1]
    assert run.provenance["data"]["replay"]["old"]["share"] == 0.5


def test_a_share_of_nothing_is_an_arm_without_replay() -> None:
    made = plan(0.0)
    assert replayed(made, 20).tolist() == [0] * 20
    assert made.token_shares(3) == {"new": 1.0, "old": 0.0}


def test_decided_shares_hold_from_their_step_on() -> None:
    """0.25 of 8 is two in steps 0 to 4, 0.5 is four in steps 5 to 8, 0 is none after that.

    Earlier batches stay the same, and new text goes on where it stopped: 5 x 6 examples, then 4 at a time.
    """
    made = plan()
    before = [made.batch_at(step).tolist() for step in range(12)]  # counted beyond the change already
    made.change_shares(5, {"old": 0.5})
    made.change_shares(9, {"old": 0.0})
    assert replayed(made, 12).tolist() == [2] * 5 + [4] * 4 + [0] * 3
    assert [made.batch_at(step).tolist() for step in range(5)] == before[:5]
    assert made.batch_at(5)[:4].tolist() == [30, 31, 32, 33]
    assert made.shares_at(4) == {"old": 0.25}
    assert made.shares_at(5) == {"old": 0.5}
    old = np.concatenate([batch[batch >= 40] for batch in map(made.batch_at, range(9))])
    assert len(old) == 26
    assert len(set(old.tolist())) == 26  # of 30: none comes again before all have come


def test_what_is_owed_at_a_decision_is_carried_over() -> None:
    """0.1 of batches of 5 for 7 steps, then 0.3: after n more steps 3.5 + 1.5 n replayed examples, one more or less."""
    made = plan(0.1, batch=5)
    made.change_shares(7, {"old": 0.3})
    counts = np.cumsum(replayed(made, 60))[6:]
    assert np.abs(counts - (3.5 + 1.5 * np.arange(54))).max() <= 1
    assert made.owed_at(60) == pytest.approx([counts[-1] - 83, 83 - counts[-1]])  # 3.5 + 1.5 x 53 = 83


@pytest.mark.parametrize("batch", range(1, 9))
@pytest.mark.parametrize("every", range(1, 5))
def test_shares_decided_at_every_small_batch_are_realised(batch: int, every: int) -> None:
    """A share of 0.03 to 0.2 decided anew every 1 to 4 steps. After every step the replayed examples are the sum of
    share x batch over the steps so far, within one. (Counted anew at each decision, none would be replayed at batch 1
    and every step: 0.2 of one example is never the larger part.)
    """
    made, decided, count = plan(0.05, batch=batch), 0.0, 0
    for step in range(120):
        if step % every == 0:
            share = 0.03 + 0.17 * ((step // every * 7) % 10) / 9
            made.change_shares(step, {"old": share})
        decided += share * batch
        count += int((made.batch_at(step) >= 40).sum())
        assert abs(count - decided) <= 1
    assert count > 0


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("every", [1, 4])
def test_several_corpora_get_what_is_decided(batch: int, every: int) -> None:
    """Two corpora whose shares change against each other: each has its sum of share x batch within an example, and
    by tokens its sum of share x tokens within the longest passage, 99 tokens.
    """
    for by in ("examples", "tokens"):
        train = Train(epochs=1, batch=batch, mixing={"by": by})
        made = MixedPlan(Sequential(), LENGTHS, {"a": (range(40, 50), 0.05), "b": (range(50, 70), 0.1)}, train)
        decided, got = np.zeros(2), np.zeros(2)
        for step in range(150):
            if step % every == 0:
                shares = np.array([0.04 + 0.02 * (step % 5), 0.12 - 0.02 * (step % 5)])
                made.change_shares(step, dict(zip("ab", map(float, shares), strict=True)))
            ids = made.batch_at(step)
            sizes = LENGTHS[ids] if by == "tokens" else np.ones(len(ids))
            decided += shares * sizes.sum()
            got += [sizes[(ids >= 40) & (ids < 50)].sum(), sizes[ids >= 50].sum()]
            assert np.abs(got - decided).max() <= (99 if by == "tokens" else 1)
        assert (got > 0).all()


def test_deciding_the_share_in_force_changes_no_batch() -> None:
    """A third of batches of 4, decided again before every step: the very batches of the plan that nobody decides."""
    for mixing in ({}, {"by": "tokens"}):
        left, decided = (plan(1 / 3, batch=4, order=Shuffled(), **mixing) for _ in range(2))
        for step in range(60):
            decided.change_shares(step, {"old": 1 / 3})
            assert decided.batch_at(step).tolist() == left.batch_at(step).tolist()
        assert decided.decided
        assert not left.decided


def test_batches_that_nobody_decides_are_those_of_before() -> None:
    """SHA-256 of the first 200 batches, recorded before what is owed was carried over."""
    digests = {}
    for name, mixing in (("examples", {}), ("tokens", {"by": "tokens"}), ("expected", {"counts": "expected"})):
        made = plan(0.07, batch=5, order=Shuffled(), **mixing)
        batches = np.concatenate([made.batch_at(step) for step in range(200)])
        digests[name] = hashlib.sha256(batches.astype("<i8").tobytes()).hexdigest()[:16]
    assert digests == RECORDED


@pytest.mark.parametrize("mixing", [{}, {"by": "tokens"}, {"counts": "expected"}])
def test_the_plan_is_a_function_of_step_and_decisions(mixing: dict[str, Any]) -> None:
    """Shares changed during training, or all at once when a run is resumed, and repeatedly: the same batches."""
    live, resumed = plan(order=Shuffled(), **mixing), plan(order=Shuffled(), **mixing)
    changes = {4: 0.4, 9: 0.05, 10: 0.2}
    batches = []
    for step in range(20):
        if step in changes:
            live.change_shares(step, {"old": changes[step]})
        batches.append(live.batch_at(step).tolist())
    for step, share in changes.items():
        resumed.change_shares(step, {"old": share})
    resumed.change_shares(10, {"old": 0.2})
    assert [resumed.batch_at(step).tolist() for step in range(20)] == batches
    assert [resumed.tokens_through(step) for step in range(20)] == [live.tokens_through(step) for step in range(20)]


def test_shares_that_cannot_be_decided() -> None:
    for shares in ({"old": 1.0}, {"old": -0.1}, {"odl": 0.2}, {"new": 0.5}):
        with pytest.raises(DataError, match="give shares of old of at least 0, below 1 in all"):
            plan().change_shares(3, shares)
