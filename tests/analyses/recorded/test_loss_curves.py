"""The table of what runs came to, by hand."""

import numpy as np
import pytest

from ontogeny.analyses.recorded.loss_curves import crossed, loss_curves, new_text, outcomes, replayed_share, results
from ontogeny.core.errors import StoreError
from ontogeny.store.run_group import RunGroup
from tests.analyses.across.outcomes import curves, outcome
from tests.report.hand_made import MakeRun

NLL = {"train": [[[4.0]], [[3.0]]], "novel": [[[4.0]], [[3.0]]], "general": [[[2.0]], [[2.5]]]}


def test_the_table_by_hand() -> None:
    """New text from 4 over 2 to 3: a decrease of 1, 0.75 of the start, best 2. General from 2 to 2.5: 1.25 of it."""
    table = results([outcome({"a": "1"}, 3, curves([4, 2, 3], [2, 3, 2.5]))])
    assert table.to_dict("records") == [
        {
            "a": "1",
            "seed": 3,
            "run": "a=1 3",
            "steps": 10,
            "tokens": 640,
            "parameters": 1000,
            "nll n": 3,
            "first n": 4,
            "best n": 2,
            "nll g": 2.5,
            "first g": 2,
            "best g": 2,
            "new decrease": 1,
            "new relative": 0.75,
            "new decay": 0.025,
            "general increase": 0.5,
            "general relative": 1.25,
        }
    ]


def test_curves_are_read_by_role(make_run: MakeRun) -> None:
    (run,) = RunGroup([make_run(NLL, metrics=True)]).runs
    read = loss_curves(run)
    assert read is not None
    assert (read.new, read.general, read.steps.tolist()) == ("novel", "general", [0, 10])
    assert np.array_equal(read.losses["general"], [2, 2.5])
    assert read.relative == (0.75, 1.25)


def test_outcomes_stand_in_the_order_of_the_runs(make_run: MakeRun) -> None:
    """Two rates with two seeds each, given seed by seed: levels from the recipes, pairs by seed."""
    runs = [
        make_run(NLL, f"{every}-{seed}", metrics=True, seed=seed, recipe={"checkpoints": {"every_epochs": every}})
        for seed in (7, 8)
        for every in (1, 2)
    ]
    group = RunGroup(runs)
    table = outcomes(group)
    assert [run.run for run in table] == ["1-7", "2-7", "1-8", "2-8"]
    assert [(run.levels, run.seed) for run in table[1:3]] == [
        ({"checkpoints.every_epochs": "2"}, 7),
        ({"checkpoints.every_epochs": "1"}, 8),
    ]
    assert new_text(table) == "novel"
    assert [(label, seeds) for label, seeds, _ in crossed(group)] == [
        ("every_epochs 1", [7, 8]),
        ("every_epochs 2", [7, 8]),
    ]
    assert crossed(RunGroup(runs[:3])) == []


def test_a_run_given_twice_is_refused(make_run: MakeRun) -> None:
    run = make_run(NLL, metrics=True)
    with pytest.raises(StoreError, match=r"hand \(1\) and hand \(2\): their settings and seed are the same"):
        outcomes(RunGroup([run, run]))


def test_which_setting_is_a_replayed_share() -> None:
    assert (
        replayed_share([outcome({"train.lr": "1", "data.replay.old.share": "0"}, 0, None)]) == "data.replay.old.share"
    )
    assert replayed_share([outcome({"data.replay.old.at_most": "1"}, 0, None)]) is None
