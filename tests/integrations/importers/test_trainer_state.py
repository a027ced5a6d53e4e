"""Hugging Face's trainer_state.json."""

import json
from pathlib import Path

from tests.integrations.importers.reading import names, points, read

ENTRIES = [
    {"loss": 3.5, "grad_norm": 1.25, "learning_rate": 1e-4, "epoch": 0.5, "step": 10},
    {"eval_loss": 3.25, "eval_runtime": 2.0, "eval_samples_per_second": 50.0, "epoch": 1.0, "step": 20},
    {"loss": 3.0, "grad_norm": 1.0, "learning_rate": 5e-5, "epoch": 1.0, "step": 20},
    {"train_runtime": 9.0, "train_loss": 3.25, "total_flos": 1.0, "epoch": 1.0, "step": 20},
]


def state(entries: list, **more: object) -> str:
    return json.dumps({"global_step": 20, "max_steps": 40, "log_history": entries, **more})


def test_entries_become_series_and_the_summary_configuration(tmp_path: Path) -> None:
    history = read(tmp_path, state(ENTRIES))
    assert history.form == "Hugging Face trainer_state.json"
    assert points(history, "loss") == [(10, 3.5), (20, 3.0)]
    assert points(history, "loss", "eval") == [(20, 3.25)]
    assert names(history) == {"train/loss", "train/grad_norm", "train/learning_rate", "eval/loss"}
    assert history.config == {
        "max_steps": 40,
        "last_step": 20,
        "final_train_loss": 3.25,
        "eval_runtime_s": [2.0],
        "eval_examples_per_second": [50.0],
    }


def test_rows_are_counted_within_the_history(tmp_path: Path) -> None:
    loss = read(tmp_path, state(ENTRIES)).segments[0].get("loss")
    assert loss is not None
    assert loss.rows.tolist() == [1, 3]


def test_numbers_written_as_text_are_numbers(tmp_path: Path) -> None:
    history = read(tmp_path, state([{"loss": "2.5", "step": 1}, {"loss": "1.5", "step": 2}]))
    assert points(history, "loss") == [(1, 2.5), (2, 1.5)]


def test_bare_nan_is_read_as_such(tmp_path: Path) -> None:
    loss = read(tmp_path, '{"log_history": [{"loss": NaN, "step": 1}, {"loss": Infinity, "step": 2}]}').segments[0]
    assert [str(v) for one in loss for v in one.values] == ["nan", "inf"]


def test_an_empty_history_is_no_curve(tmp_path: Path) -> None:
    history = read(tmp_path, state([]))
    assert "empty" in history.nothing
    assert not history.segments


def test_a_history_far_behind_the_first_64_kib_is_recognised(tmp_path: Path) -> None:
    padding = {"trial_params": ["x" * 100] * 1000}
    text = json.dumps({**padding, "log_history": ENTRIES})
    assert points(read(tmp_path, text), "loss", "eval") == [(20, 3.25)]


def test_what_is_no_record_is_said(tmp_path: Path) -> None:
    history = read(tmp_path, state([ENTRIES[0], "lost", ENTRIES[2]]))
    assert history.partial
    assert history.notes == ("entry 2 is not a record",)
    assert points(history, "loss") == [(10, 3.5), (20, 3.0)]


def test_a_file_that_ends_in_the_middle_gives_what_was_complete(tmp_path: Path) -> None:
    text = state(ENTRIES)
    history = read(tmp_path, text[: text.index('"eval_runtime"')])
    assert history.partial
    assert points(history, "loss") == [(10, 3.5)]
    assert any("damaged" in note for note in history.notes)
