"""Replay decided on measured forgetting: the law by hand, whole runs, interruptions, refusals."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ontogeny.controls import replay_budget
from ontogeny.controls.replay_budget import ReplayBudget
from ontogeny.core.controls import Decision
from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.report.origin import alarms
from ontogeny.runs.execute import execute
from ontogeny.store.run import Run, open_run
from ontogeny.store.run_group import RunGroup
from tests.small_runs import differences, interrupt_and_resume, tree, write_text


def _content(folder: Path, *, control: dict[str, Any] | None = None, **train: Any) -> dict[str, Any]:
    """New text of words, general text of numbers, of which each batch replays a tenth."""
    content = tree(write_text(folder / "words"), measures=["evaluation"])
    data = content["data"]
    (folder / "old").mkdir()
    for i in range(24):
        numbers = np.random.default_rng(i).integers(10, 100, 40)
        (folder / "old" / f"{i:02}.txt").write_text(" ".join(map(str, numbers)) + "\n", encoding="utf-8")
    data["corpora"]["old"] = {"kind": "text", "path": str(folder / "old" / "*.txt")}
    data["replay"] = {"old": {"of": "old/train", "at_most": 20, "share": 0.1}}
    data["probes"]["general"] = {"of": "old/novel", "count": 6}
    controls = [{"kind": "replay_budget", "every": 2} | (control or {})]
    content["train"] = {"steps": 14, "batch": 8, "lr": 0.01, "dropout": 0.0, "controls": controls} | train
    return content


def _decided(run: Run, name: str = "share_old") -> list[float]:
    found: list[float] = run.series(f"replay_budget_{name}", "train")["value"].tolist()
    return found


def test_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """L0 = 2, bound 2%, margin 0.8, so replay is raised from 2 x 1.016 = 2.032 on. From 0.1: at 2.04 x 1.5 = 0.15, at
    2.032 x 1.5 = 0.225, at 2.03 x 0.95 = 0.21375, at 1.9 x 0.95 = 0.2030625; then x 1.5 = 0.30459375, which the ceiling
    of 0.25 cuts, and down to the floor of 0.24.
    """
    losses = iter([2.0, 2.04, 2.0 * (1 + 0.8 * 0.02), 2.03, 1.9, 2.1, 2.0])
    monkeypatch.setattr(replay_budget, "mean_nll", lambda model, batch: next(losses))
    monkeypatch.setattr(replay_budget, "held_out", lambda *given: {})
    control, past = ReplayBudget(ceiling=0.25), []
    shares = {"old": 0.1}
    for step in range(7):
        if step == 6:
            control = ReplayBudget(ceiling=0.25, floor=0.24)
        context: Any = SimpleNamespace(
            model=None, training=SimpleNamespace(replay=shares), progress=SimpleNamespace(step=step)
        )
        past.append(control.decide(context, past))
        shares = {"old": past[-1].values["share_old"]}
    assert [decision.values["share_old"] for decision in past] == pytest.approx(
        [0.1, 0.15, 0.225, 0.21375, 0.2030625, 0.25, 0.24]
    )
    assert past[1].values["excess"] == pytest.approx(0.02)


def test_several_corpora_keep_their_proportions(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.06 + 0.02 = 0.08, x 1.5 = 0.12: 0.09 and 0.03."""
    monkeypatch.setattr(replay_budget, "mean_nll", lambda model, batch: 3.0)
    monkeypatch.setattr(replay_budget, "held_out", lambda *given: {})
    context: Any = SimpleNamespace(
        model=None, training=SimpleNamespace(replay={"a": 0.06, "b": 0.02}), progress=SimpleNamespace(step=1)
    )
    decision = ReplayBudget().decide(context, [Decision(step=0, values={"loss": 2.0})])
    assert [decision.values[name] for name in ("share_a", "share_b")] == pytest.approx([0.09, 0.03])


@pytest.mark.parametrize(("every", "batch"), [(5, 8), (1, 2)])
def test_what_is_decided_is_what_batches_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, batch: int
) -> None:
    """Where the general loss is made to rise, so does the share, up to 0.2; and at every step the replayed tokens are
    the sum of share x tokens within the longest passage, 24 tokens, however small the batch and frequent the decision.
    """
    rising = iter(range(1, 50))
    monkeypatch.setattr(replay_budget, "mean_nll", lambda model, batch: next(rising))
    control = {"every": every, "ceiling": 0.2}
    content = _content(tmp_path, control=control, steps=30, batch=batch, mixing={"by": "tokens"})
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    assert _decided(run)[:4] == pytest.approx([0.1, 0.15, 0.2, 0.2])
    tokens = np.diff(run.series("tokens_seen", "train")["value"].to_numpy())
    replayed = np.cumsum(run.series("replayed_old", "train")["value"].to_numpy()[:-1] * tokens)
    decided = np.cumsum(np.repeat(_decided(run), every)[:29] * tokens)
    assert np.abs(replayed - decided).max() <= 24
    assert replayed[-1] > 0
    assert "replay_gaps" not in run.provenance


@pytest.mark.slow
def test_a_gap_that_remains_is_told_and_recorded(tmp_path: Path) -> None:
    """A tenth of three batches of one is 0.3 examples: none is replayed. Of twelve, where 0.9 are decided, one is."""
    content, told = _content(tmp_path, control={"every": 1}, steps=3, batch=1, lr=0.0), []
    listen = lambda event: told.append(getattr(event, "text", ""))  # noqa: E731
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "short", listen=listen))
    gap = run.provenance["replay_gaps"]["old"]
    assert gap["realised"] == 0
    assert gap["decided"] == pytest.approx(0.1 * (1 + 0.95 + 0.9025) / 3)
    lines = [text for text in told if "was realised" in text]
    assert lines == [
        "replay of 'old': 9.51% of what is trained on was decided, 0.00% was realised: train longer, or with larger "
        "batches"
    ]
    assert alarms(RunGroup([run]).runs[0]) == [f"{run.path.name} replayed 0.00% of old, where 9.51% was decided."]
    content["train"]["steps"] = 12
    longer = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "long"))
    assert "replay_gaps" not in longer.provenance


def test_a_model_that_cannot_forget_needs_less_and_less(tmp_path: Path) -> None:
    """A learning rate of 0 changes nothing: excess is 0 everywhere, and each share 0.95 of the one before."""
    run = open_run(execute(validate(_content(tmp_path, lr=0.0), "test"), runs_dir=tmp_path / "runs"))
    assert set(_decided(run, "excess")) == {0.0}
    assert _decided(run) == pytest.approx([0.1 * 0.95**n for n in range(7)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings", [{}, {"batch": 1}, {"repeats": 3}, {"mixing": {"by": "tokens"}}, {"mixing": {"counts": "expected"}}]
)
def test_an_interrupted_run_is_the_same_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    recipe = validate(_content(tmp_path, control={"bound": 1e-6}, **settings), "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 10, monkeypatch)
    assert differences(whole, parts.path) == []
    assert len(set(_decided(parts))) > 3


def test_refusals(tmp_path: Path) -> None:
    for i, (change, message) in enumerate(
        (
            ({"steps": None, "tokens": 900}, "not known beforehand how long training is"),
            (
                {"steps": None, "epochs": 2, "mixing": {"budget": "new"}},
                r"write steps, or epochs with mixing\.budget: compute",
            ),
            ({"mixing": {"percentage_window": 50, "max_tokens": 96}}, "which percentage_window gives"),
            ({"controls": ["replay_budget", "replay_budget"]}, "a second control is a 'replay_budget'"),
            ({"controls": [{"kind": "replay_budget", "general": "generl"}]}, "unknown probe set 'generl'"),
            ({"controls": [{"kind": "replay_budget", "floor": 0.6}]}, "floor 0.6 is above ceiling 0.5"),
        )
    ):
        (tmp_path / str(i)).mkdir()
        with pytest.raises(RecipeError, match=message):
            validate(_content(tmp_path / str(i), **change), "test")
    content = _content(tmp_path)
    with pytest.raises(RecipeError, match="'ledger' must know all batches before training"):
        validate(content | {"measures": ["ledger"]}, "test")
    del content["data"]["replay"]
    with pytest.raises(RecipeError, match=r"write data\.replay with shares below 1 in all"):
        validate(content, "test")


def test_probe_sets_that_a_control_decides_by_shape_the_weights(tmp_path: Path) -> None:
    """Another general set is another training; another set that nobody decides by is not."""
    content = _content(tmp_path)
    before = validate(content, "test").train_hash
    content["data"]["probes"]["novel"]["count"] = 5
    assert validate(content, "test").train_hash == before
    content["data"]["probes"]["general"]["count"] = 5
    assert validate(content, "test").train_hash != before
