"""JSON that holds a history whole."""

import json
from pathlib import Path

from tests.integrations.importers.reading import points, read


def test_a_list_of_entries(tmp_path: Path) -> None:
    history = read(tmp_path, json.dumps([{"step": 1, "train_loss": 3.5}, {"step": 2, "train_loss": 3.0}]))
    assert history.form == "JSON history"
    assert points(history, "loss") == [(1, 3.5), (2, 3.0)]


def test_an_object_with_such_a_list(tmp_path: Path) -> None:
    history = read(
        tmp_path, json.dumps({"args": {"lr": 1}, "log": [{"iter": 1, "loss": 3.5}, {"iter": 9, "loss": 3.0}]})
    )
    assert points(history, "loss") == [(1, 3.5), (9, 3.0)]


def test_lists_side_by_side_count_epochs(tmp_path: Path) -> None:
    history = read(tmp_path, json.dumps({"loss": [3.5, 3.0, 2.5], "val_loss": [3.75, 3.25, 2.75]}))
    assert history.segments[0].axis == "epoch"
    assert points(history, "loss") == [(1, 3.5), (2, 3.0), (3, 2.5)]
    assert points(history, "loss", "eval") == [(1, 3.75), (2, 3.25), (3, 2.75)]


def test_lists_side_by_side_with_steps_of_their_own(tmp_path: Path) -> None:
    history = read(tmp_path, json.dumps({"steps": [10, 20, 30], "loss": [3.5, None, 2.5]}))
    assert points(history, "loss") == [(10, 3.5), (30, 2.5)]
