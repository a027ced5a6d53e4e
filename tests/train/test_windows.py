"""Training on rolling windows: one a step, beside replay, and exact when it was interrupted."""

from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.errors import DataError
from ontogeny.core.recipe_file import validate
from ontogeny.runs.execute import execute
from ontogeny.store.run import open_run
from tests.small_runs import differences, interrupt_and_resume, tree, write_text


def content(folder: Path, **take: Any) -> dict[str, Any]:
    """Windows of 24 of 72 tokens, 6 apart; two passages of at most 24 beside each."""
    made = tree(write_text(folder / "words"), checkpoints={"every_steps": 4})
    made["data"]["train"] = [{"of": "words/train", "step": "25%", "at_most": 12, **take}]
    made["data"]["probes"]["train"] = {"of": "words/train"}
    made["data"]["replay"] = {"old": {"of": "words/novel", "share": 1.0}}
    made["train"] |= {"batch": 1, "accumulate": 1, "epochs": 1, "order": "sequential"}
    made["train"]["mixing"] = {"percentage_window": 100 / 3, "max_tokens": 72}
    return made


@pytest.mark.slow
def test_one_window_in_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = validate(content(tmp_path), "test")
    whole = open_run(execute(recipe, runs_dir=tmp_path / "whole"))
    assert whole.checkpoints[-1].step == 12
    shares = whole.series("replayed_old", "train")["value"]
    assert len(shares) == 12
    assert shares.between(0.4, 2 / 3).all()
    tokens = whole.series("tokens_seen", "train")["value"].diff().dropna()
    assert tokens.max() <= 72
    parts = interrupt_and_resume(recipe, tmp_path / "parts", 6, monkeypatch)
    assert differences(whole.path, parts.path) == []


@pytest.mark.slow
def test_the_ladder_makes_room_for_windows(tmp_path: Path) -> None:
    """Passages of 24, windows of 60: the model from scratch holds 60; one that is told to hold 59 is refused."""
    made = content(tmp_path, window=60)
    made["data"]["replay"] = {}
    made["train"] |= {"mixing": {}, "steps": 2, "epochs": None}
    assert open_run(execute(validate(made, "test"), runs_dir=tmp_path / "runs")).checkpoints[-1].step == 2
    made["model"]["context_length"] = 59
    with pytest.raises(DataError, match="context_length is 59, the recipe has sequences of 60 tokens"):
        execute(validate(made, "test"), runs_dir=tmp_path / "runs")
