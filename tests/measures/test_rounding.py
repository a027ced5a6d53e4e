"""Updates lost to rounding: by hand, at rates that float32 cannot hold, and in float64, which can."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ontogeny.core.errors import OntogenyError, RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.looking.guard import untouched
from ontogeny.measures.rounding import Rounding
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.live_training import LiveSession
from tests.measures.small import make_context, make_model
from tests.small_runs import differences, interrupt_and_resume, tree, write_text
from tests.train.test_loop import session_of


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_text(tmp_path_factory.mktemp("texts") / "words")


class _ByHand:
    """A training of one tensor whose step adds what is said."""

    def __init__(self, weights: list[float], direction: list[float], rate: float) -> None:
        self.parameter, self.direction = torch.nn.Parameter(torch.tensor(weights)), torch.tensor(direction)
        self.learning_rate = rate

    def next_update(self) -> Any:
        return [(self.parameter, self.direction)]

    def trial(self) -> Any:
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None: ...

    def step(self, rate: float) -> None:
        self.parameter.data += rate * self.direction


def test_an_optimizer_that_cannot_tell_its_direction_is_not_assessable(texts: Path) -> None:
    session = session_of(texts, optimizer="adafactor")
    context = make_context(session.model, [], training=LiveSession(session), objective=session.objective)
    with untouched(session.model):
        seen = Rounding().look(context).arrays
    assert "'adafactor' is not known" in seen.attrs["not_assessable"]
    assert [name for name in seen if np.isfinite(float(seen[name]))] == ["learning_rate"]


def _look(training: Any) -> dict[str, float]:
    arrays = Rounding().look(make_context(make_model(), [], training=training)).arrays
    return {str(name): float(value) for name, value in arrays.data_vars.items()}


def test_by_hand() -> None:
    """Rate 2^-30, weights 1, 0, 2^-20 and 8, directions -1, 1, 1 and 0. Below 1 the spacing is 2^-24: 1 - 2^-30 is 1,
    lost. 0 + 2^-30 and 2^-20 + 2^-30 are exact. Nothing was meant for 8. So 2 of 4 change, 1 of 3 is stuck, and of the
    squared norm 1/3 is lost.
    """
    observed = _look(_ByHand([1.0, 0.0, 2.0**-20, 8.0], [-1.0, 1.0, 1.0, 0.0], 2.0**-30))
    assert observed["changed"] == 0.5
    assert observed["stuck"] == pytest.approx(1 / 3)
    assert observed["norm_lost"] == pytest.approx(3**-0.5)
    assert observed["learning_rate"] == 2.0**-30


def test_where_nothing_would_move() -> None:
    observed = _look(_ByHand([1.0], [1.0], 0.0))
    assert observed["changed"] == 0
    assert np.isnan([observed["stuck"], observed["norm_lost"]]).all()


def _of_session(texts: Path, **train: Any) -> dict[str, float]:
    session = session_of(texts, **train)
    with untouched(session.model):
        arrays = Rounding().look(make_context(session.model, [], training=LiveSession(session))).arrays
    return {str(name): float(value) for name, value in arrays.data_vars.items()}


def test_at_a_very_low_rate_float32_loses_most_and_float64_nothing(texts: Path) -> None:
    """Adam's first update is about the rate: 1e-10 beside weights of 0.02, whose spacing is 2e-9. At 1e-3 both hold."""
    low = _of_session(texts, lr=1e-10)
    assert low["stuck"] > 0.7
    assert low["norm_lost"] > 0.7
    double = _of_session(texts, lr=1e-10, weights="float64")
    assert double["stuck"] == 0
    assert double["norm_lost"] < 1e-5
    usual = _of_session(texts, lr=1e-3)
    assert usual["stuck"] < 0.01
    assert usual["norm_lost"] < 1e-3


@pytest.mark.slow
def test_float64_from_end_to_end(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved, restored and resumed bit for bit, in float64, with the measures' own backfill equal to the live look."""
    content = tree(texts, measures=["evaluation", "weight_drift", "rounding"])
    content["train"] |= {"weights": "float64", "lr": 1e-9}
    recipe = validate(content, "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 10, monkeypatch)
    assert differences(whole, parts.path) == []
    run = open_run(whole)
    assert (run.measure("rounding")["stuck"].values == 0).all()
    drift = run.measure("weight_drift")["mad_first"].values
    assert (np.diff(drift[1:]) > 0).all()
    from safetensors.torch import load_file

    for file in ("model/model.safetensors", "trainer/optimizer.safetensors"):
        held = load_file(run.checkpoints[-1].path / file)
        assert {t.dtype for name, t in held.items() if not name.endswith("//step")} == {torch.float64}


def test_refusals() -> None:
    with pytest.raises(OntogenyError, match="needs the training itself"):
        Rounding().look(make_context(make_model(), []))
    with pytest.raises(RecipeError, match="leave out one of them"):
        validate(_bf16(), "test")


def _bf16() -> dict[str, Any]:
    content = tree(Path("none"))
    content["train"] |= {"weights": "float64", "precision": "bf16"}
    return content
