"""LLaMA-Factory's trainer_log.jsonl."""

import json
from pathlib import Path

from tests.integrations.importers.reading import names, points, read


def entry(step: int, **values: object) -> str:
    progress = {
        "current_steps": step,
        "total_steps": 90,
        "percentage": 1.1,
        "elapsed_time": "0:00:01",
        "epoch": step / 30,
    }
    return json.dumps(progress | values) + "\n"


def test_losses_of_current_steps(tmp_path: Path) -> None:
    text = entry(10, loss=1.5, lr=1e-5) + entry(20, loss=1.25, lr=9e-6) + entry(20, eval_loss=1.375)
    history = read(tmp_path, text)
    assert history.form == "LLaMA-Factory trainer_log.jsonl"
    assert history.config == {"max_steps": 90}
    assert points(history, "loss") == [(10, 1.5), (20, 1.25)]
    assert points(history, "loss", "eval") == [(20, 1.375)]
    assert names(history) == {"train/loss", "train/learning_rate", "eval/loss"}


def test_nulls_of_old_versions_are_no_values(tmp_path: Path) -> None:
    history = read(tmp_path, entry(10, loss=1.5, eval_loss=None, reward=None) + entry(20, loss=1.25, eval_loss=None))
    assert names(history) == {"train/loss"}


def test_progress_alone_is_no_curve(tmp_path: Path) -> None:
    history = read(tmp_path, entry(10) + entry(20))
    assert history.nothing == "none of its 2 records has a loss or another metric: progress only"
