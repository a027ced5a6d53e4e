"""Blocks that would move apart are brought to move alike."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ontogeny.controls import level_layers
from ontogeny.controls.level_layers import LevelLayers
from ontogeny.core.errors import RecipeError
from ontogeny.core.recipe_file import validate
from ontogeny.looking.update_direction import update_direction
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from ontogeny.train.loop import step_gradients
from ontogeny.train.parameter_groups import set_layer_slope
from tests.small_runs import differences, interrupt_and_resume, tree, write_text
from tests.train.test_loop import session_of


def _slope(monkeypatch: pytest.MonkeyPatch, mad: Any, **settings: Any) -> tuple[float, float]:
    monkeypatch.setattr(level_layers, "block_mad", lambda context: np.asarray(mad, dtype=float))
    context: Any = SimpleNamespace(progress=SimpleNamespace(step=0))
    values = LevelLayers(**settings).decide(context, []).values
    return values["first_block"], values["last_block"]


def test_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAD 4, 2, 1: log-linear, r = 4; gain 1: 4^-0.5 = 0.5 and 2; gain 2: 0.25 and 4. Limit 1.5: 1/1.5 and 1.5."""
    assert _slope(monkeypatch, [4, 2, 1], gain=1.0) == pytest.approx((0.5, 2))
    assert _slope(monkeypatch, [4, 2, 1], gain=2.0) == pytest.approx((0.25, 4))
    assert _slope(monkeypatch, [4, 2, 1], limit=1.5) == pytest.approx((1 / 1.5, 1.5))
    assert _slope(monkeypatch, [1, 2, 4], gain=1.0) == pytest.approx((2, 0.5))


@pytest.mark.parametrize("mad", [[3, 3, 3], [0, 0, 0], [2], [1, 5, 1]])
def test_nothing_to_level(monkeypatch: pytest.MonkeyPatch, mad: list[float]) -> None:
    """Alike, not moved yet, one block alone, a middle block that a line over the blocks cannot reach."""
    assert _slope(monkeypatch, mad) == pytest.approx((1, 1))


def test_where_it_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: two blocks whose MAD grows in proportion to multiplier x (8, 1). Without it they stand 8 apart, with
    gain 2 at 8^(1/3) = 2, with gain 1 at 8^(1/2) = 2.83.
    """
    for gain, expected in ((2.0, 2.0), (1.0, 8**0.5)):
        mad = np.array([8.0, 1.0])
        for _ in range(4000):
            mad += 0.1 * np.array([8.0, 1.0]) * _slope(monkeypatch, mad, gain=gain, limit=100.0)
        assert mad[0] / mad[1] == pytest.approx(expected, rel=0.02)


def _content(folder: Path, **train: Any) -> dict[str, Any]:
    content = tree(write_text(folder / "words"), measures=["evaluation"])
    controls = [{"kind": "level_layers", "every": 2}]
    content["train"] = {"steps": 14, "batch": 8, "lr": 0.01, "dropout": 0.0, "controls": controls} | train
    return content


def test_multipliers_reach_the_next_update(texts: Path) -> None:
    """Pico: embeddings and block 0 get the first, block 1, final norm and head the last; the direction follows."""
    session = session_of(texts, controls=["level_layers"])
    step_gradients(session)
    before = {id(p): u.clone() for p, u in update_direction(session.optimizer)}
    set_layer_slope(session.optimizer, (0.5, 3.0))
    after = {id(p): u for p, u in update_direction(session.optimizer)}
    names = [name for name, _ in session.model.named_parameters()]
    assert len(names) == len(after)
    for name, p in session.model.named_parameters():
        late = not ("embed_in" in name or ".layers.0." in name)
        assert after[id(p)].allclose((3.0 if late else 0.5) * before[id(p)])


def test_groups_are_blocks_only_where_asked(texts: Path) -> None:
    """Pico has two blocks; where there is decay, what has none is a group apart."""
    decay = {"weight_decay": 0.1}
    assert len(session_of(texts, optimizer=decay).optimizer.param_groups) == 2
    assert len(session_of(texts, optimizer=decay, controls=["level_layers"]).optimizer.param_groups) == 4


@pytest.mark.slow
def test_an_interrupted_run_is_the_same_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together with a control that decides the rate by trying the multiplied direction."""
    follow = {"kind": "target_decrease", "target": 0.002, "rates": 8, "lowest": 1e-5, "highest": 0.1}
    content = _content(tmp_path, controls=[{"kind": "level_layers", "every": 2}, follow])
    recipe = validate(content, "test")
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 10, monkeypatch)
    assert differences(whole, parts.path) == []
    run = open_run(whole)
    assert len(set(run.series("level_layers_first_block", "train")["value"])) > 3
    realised, predicted = (
        run.series(f"target_decrease_{n}", "train")["value"].to_numpy() for n in ("realised", "predicted")
    )
    even = np.arange(1, 14)[np.arange(1, 14) % 2 == 1]  # the slope did not change between prediction and step
    assert realised[even] == pytest.approx(predicted[even - 1], abs=1e-5)


def test_a_fixed_slope_beside_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'level_layers' decides the slope over layers: leave out layer_slope"):
        validate(_content(tmp_path, layer_slope=[0.5, 1.0]), "test")
