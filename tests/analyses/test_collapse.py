"""Planted collapse is found where it is; a frozen model has not collapsed, and noise is none."""

import numpy as np
import pytest

from ontogeny.analyses.collapse import Collapse, Drift, replays
from tests.analyses.items import items

STEP = np.arange(34) * 10


def accuracy(curve: np.ndarray, seed: int = 1, noise: float = 0.02) -> object:
    return items(curve, seed, noise=noise, step=STEP, what="accuracy of last words", worse=-1, unit="share")


def test_a_frozen_model_has_not_collapsed() -> None:
    """Exact zeros at every checkpoint, no bend, and nothing to go together."""
    still = items(np.zeros(34), noise=0.0, step=STEP)
    found = Collapse().judge([still], [still], Drift(step=STEP, block=np.arange(2), mad=np.zeros((34, 3))))
    change = found.numbers["changes"]["general: loss"]
    assert set(change["value"]) == set(change["low"]) == set(change["high"]) == {0.0}
    assert set(change["p_adjusted"]) == {1.0}
    assert not found.numbers["change_point"]["general"]["claimed"]
    assert not found.numbers["mad_and_loss"]["general"]["assessable"]
    assert found.verdict == "no general number surely differs at the end from before training"


def test_a_collapse_from_some_step_on() -> None:
    """A nat from step 150 on, and half of the last words: significantly worse from that step on."""
    lost = (STEP >= 150).astype(float)
    found = Collapse().judge([items(lost, step=STEP), accuracy(-0.5 * lost)])
    assert found.verdict == ("worse at the end than before training: general: loss, general: accuracy of last words")
    assert "significantly worse from step 150 on" in found.sentences[0]
    change = found.numbers["changes"]["general: accuracy of last words"]
    assert change["value"][-1] == pytest.approx(0.5, abs=0.05)


def test_noise_is_no_collapse() -> None:
    """100 draws of three numbers at 33 checkpoints: a false claim about the end in at most 5%; 11 or more have 1.1%."""
    claims = 0
    for seed in range(100):
        made = [items(np.zeros(34), 10 * seed + i, step=STEP, documents=12, probe=f"g{i}") for i in range(3)]
        claims += Collapse(seed=seed).judge(made).verdict != (
            "no general number surely differs at the end from before training"
        )
    assert claims <= 10


def test_a_loss_that_is_no_number_is_a_collapse() -> None:
    broken = items(np.zeros(34), step=STEP)
    broken.total[-1] = np.nan
    assert Collapse().judge([broken]).verdict == "collapsed: general: loss is no number at some checkpoint"


def test_the_easy_text_falls_at_the_hard_one_s_cost() -> None:
    """Easy: from 3.5, a nat down; hard: from 5, half a nat up; over 330 steps."""
    easy = items(-0.5 - STEP / 330, 1, step=STEP, probe="easy", role="held out")
    hard = items(1 + 0.5 * STEP / 330, 2, step=STEP, probe="hard", role="held out")
    general = items(np.zeros(34), 3, step=STEP)
    found = Collapse().judge([general], [hard, easy, general], streams=("easy", "hard"))
    assert found.numbers["streams"] == {"assessable": True, "easy": "easy", "hard": "hard", "claimed": True}
    assert found.numbers["slopes"]["easy"].low <= -100 / 330 <= found.numbers["slopes"]["easy"].high
    other = Collapse().judge([general], [easy, general], streams=("easy", "general"))
    assert not other.numbers["streams"]["claimed"]


def test_runs_with_and_without_replay() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=12)
    points = {
        "with replay": list(zip(x, random.normal(size=12), strict=True)),
        "without replay": list(zip(x, x + 0.1 * random.normal(size=12), strict=True)),
    }
    found = Collapse().judge([items(np.zeros(34), step=STEP)], points=points)
    assert found.numbers["across"]["p"] < 0.05
    assert "with and without replay, these correlations differ" in found.sentences[-1]


def test_one_checkpoint_is_not_assessable() -> None:
    one = items(np.zeros(1), step=np.zeros(1, dtype=np.int64))
    assert Collapse().judge([one]).verdict.startswith("not assessable: lacks 2 checkpoints or more")


def test_a_bend_is_said_to_be_of_this_run() -> None:
    found = Collapse().judge([items(np.maximum(STEP - 150, 0) / 200, step=STEP)])
    assert any("the loss bends at" in sentence and "only other seeds tell" in sentence for sentence in found.sentences)


def test_a_share_of_nothing_is_no_replay() -> None:
    assert replays({"data": {"replay": {"general": {"of": "code/general", "share": 0.25}}}})
    assert not replays({"data": {"replay": {"general": {"of": "code/general", "share": 0.0}}}})
    assert not replays({"data": {}})


def test_sets_that_could_not_be_tested_are_named() -> None:
    flat = np.zeros(4)
    made = [items(flat, probe="many"), items(flat, probe="one", documents=1), items(flat[:1], probe="once")]
    verdict = Collapse().judge(made).verdict
    assert "without an interval, so not assessable: one: loss" in verdict
    assert "of one checkpoint, so not assessable: once: loss" in verdict
    assert "not assessable" not in Collapse().judge(made[:1]).verdict
