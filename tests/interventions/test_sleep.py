"""Sleep: what moved least goes back to the start; all of it, if asked."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.core.schedule import Cadence
from ontogeny.interventions.sleep import Sleep
from ontogeny.runs.execute import execute
from ontogeny.store.run import Run, open_run
from tests.small_runs import differences, interrupt_and_resume, tree, write_text

AT = Cadence(every_steps=1)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        self.b = nn.Parameter(torch.tensor([0.5, 0.0]))


def _context() -> Any:
    """Matrix from (1, 1, 1, 1): moved by 0, 1, 2, 3. Vector from (0, 0): by 0.5 and 0."""
    start = {"a": torch.ones(2, 2), "b": torch.zeros(2)}
    return SimpleNamespace(model=Small(), first_weights=lambda: start)


def test_half_by_hand() -> None:
    """Back go the 0 and 1 of the matrix, the 0 of the vector. Moved were 3 + 1 of 6 parameters."""
    change = Sleep(at=AT, share=0.5).apply(_context())
    assert change.weights["a"].tolist() == [[1.0, 1.0], [3.0, 4.0]]
    assert change.weights["b"].tolist() == [0.5, 0.0]
    assert change.reset_moments["a"].tolist() == [[True, True], [False, False]]
    assert change.reset_moments["b"].tolist() == [False, True]
    assert change.values == {"moved": pytest.approx(4 / 6), "reset": pytest.approx(3 / 6)}


def test_it_sleeps_only_when_saturated() -> None:
    """4 of 6 have moved; beyond 1.5 times the matrix's root mean square of 1, only 2 and 3: 2 + 1 of 6."""
    awake = Sleep(at=AT, saturated=0.7).apply(_context())
    assert (awake.weights, awake.reset_moments, awake.values) == ({}, {}, {"moved": pytest.approx(4 / 6), "reset": 0.0})
    assert Sleep(at=AT, saturated=0.6).apply(_context()).weights
    assert Sleep(at=AT, saturated=0.6, tolerance=1.5).apply(_context()).values["moved"] == pytest.approx(3 / 6)


def _content(folder: Path, *interventions: Any) -> dict[str, Any]:
    words = folder / "words"
    content = tree(words if words.exists() else write_text(words), measures=["evaluation"])
    content["checkpoints"] = {"steps": [0, 4, 5, 8, 12]}
    content["train"] = {**content["train"], "interventions": list(interventions)}
    return content


def _weights(run: Run, step: int) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    path = next(c for c in run.checkpoints if c.step == step).model_path
    return load_file(path / "model.safetensors")


def test_sleep_of_everything_is_the_start_again(tmp_path: Path) -> None:
    """A model that forgets all: at state 8 everything goes back, so that the run at state 9 is one step from the start.

    That step is of rate 0, so the last look is at the start itself: the same loss, to the bit. The moments are gone.
    """
    content = _content(tmp_path, {"kind": "sleep", "at": {"steps": [8]}, "share": 1.0})
    schedule = {"shape": "piecewise", "points": [[0, 0.003], [7.5 / 12, 0.003], [8 / 12, 0.0], [1, 0.0]]}
    content["train"] |= {"lr": schedule}
    run = open_run(execute(validate(content, "test"), runs_dir=tmp_path / "runs"))
    nll = run.measure("evaluation")["nll"].sel(probe="novel").values
    assert nll[-1] == nll[0]
    assert nll[3] != nll[0]  # state 8, before it slept
    first, last = _weights(run, 0), _weights(run, 12)
    assert all(torch.equal(first[name], last[name]) for name in first)
    assert run.series("sleep_reset", "train")[["step", "value"]].to_numpy().tolist() == [[8, 1.0]]
    assert run.series("sleep_moved", "train")["value"].item() > 0.5


@pytest.mark.slow
def test_without_it_nothing_goes_back(tmp_path: Path) -> None:
    """The negative control of the test above; and one that is never saturated enough changes no bit."""
    never = {"kind": "sleep", "at": {"every_steps": 1}, "share": 1.0, "saturated": 1.0, "tolerance": 100.0}
    runs = [
        open_run(execute(validate(_content(tmp_path, *one), "test"), runs_dir=tmp_path / "runs"))
        for one in ((), (never,))
    ]
    left, right = (_weights(run, 12) for run in runs)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not torch.equal(left["embed_out.weight"], _weights(runs[0], 0)["embed_out.weight"])
    # at the states 1 … 11: not at the first, nor at the last
    assert runs[1].series("sleep_reset", "train")[["step", "value"]].to_numpy().tolist() == [
        [s, 0] for s in range(1, 12)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("at_step", [6, 9])
def test_an_interrupted_run_sleeps_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: int) -> None:
    """Killed after its checkpoint at 8 the run sleeps there again, from the state as it was saved: before it slept."""
    recipe = validate(_content(tmp_path, {"kind": "sleep", "at": {"every_steps": 4}, "share": 0.6}), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    parts = interrupt_and_resume(recipe, tmp_path / "parts", at_step, monkeypatch)
    assert differences(whole.path, parts.path) == []
    assert whole.series("sleep_reset", "train")["step"].tolist() == [4, 8]
    before, after = (np.concatenate([t.numpy().ravel() for t in _weights(whole, s).values()]) for s in (4, 5))
    assert np.abs(after - before).max() > 0


def test_it_is_refused_beside_adapters_and_twice(tmp_path: Path) -> None:
    one = {"kind": "sleep", "at": {"steps": [4]}}
    with pytest.raises(RecipeError, match="a second 'sleep'"):
        validate(_content(tmp_path, one, one), "test")
    content = _content(tmp_path, one)
    content["train"] |= {"lora": {"rank": 2}}
    with pytest.raises(RecipeError, match="which lora freezes"):
        validate(content, "test")
