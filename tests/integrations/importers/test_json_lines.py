"""JSON Lines of one's own."""

from pathlib import Path

from tests.integrations.importers.reading import names, points, read


def test_objects_line_by_line(tmp_path: Path) -> None:
    history = read(tmp_path, '{"step": 1, "loss": 3.5}\n{"step": 2, "loss": 3.0, "val": {"loss": 3.25}}\n')
    assert history.form == "JSON Lines"
    assert points(history, "loss") == [(1, 3.5), (2, 3.0)]
    assert points(history, "loss", "eval") == [(2, 3.25)]


def test_null_is_no_value(tmp_path: Path) -> None:
    history = read(tmp_path, '{"step": 1, "loss": 3.5, "eval_loss": null}\n{"step": 2, "loss": 3.0}\n')
    assert names(history) == {"train/loss"}


def test_lines_between_are_counted(tmp_path: Path) -> None:
    history = read(tmp_path, '{"step": 1, "loss": 3.5}\nWarning: slow\n{"step": 2, "loss": 3.0}\n{"step": 3, "lo')
    assert history.partial
    assert history.notes == ("2 lines are not a JSON object (the first is line 2)",)
    assert points(history, "loss") == [(1, 3.5), (2, 3.0)]


def test_rows_are_lines_of_the_file(tmp_path: Path) -> None:
    loss = read(tmp_path, '\n\n{"step": 1, "loss": 3.5}\n\n{"step": 2, "loss": 3.0}\n').segments[0].get("loss")
    assert loss is not None
    assert loss.rows.tolist() == [3, 5]


def test_a_second_value_for_a_step_begins_a_segment(tmp_path: Path) -> None:
    text = "".join(f'{{"step": {s}, "loss": {4 - s / 10}}}\n' for s in range(10))
    again = "".join(f'{{"step": {s}, "loss": {5 - s / 10}}}\n' for s in range(10))
    history = read(tmp_path, text + again)
    assert [one.beginning for one in history.segments] == ["first", "restart"]
    assert points(history, "loss", segment=1)[0] == (0, 5.0)


def test_a_copy_is_dropped_and_counted(tmp_path: Path) -> None:
    history = read(tmp_path, '{"step": 1, "loss": 3.5}\n{"step": 1, "loss": 3.5}\n{"step": 2, "loss": 3.0}\n')
    assert len(history.segments) == 1
    assert points(history, "loss") == [(1, 3.5), (2, 3.0)]
    assert history.notes == ("1 values repeat the one before at the same step: the copies were dropped",)
