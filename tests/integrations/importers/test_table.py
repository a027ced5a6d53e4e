"""Tables of one's own."""

from pathlib import Path

import pytest

from ontogeny.core.errors import DataError
from tests.integrations.importers.reading import names, points, read


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_any_delimiter(delimiter: str, tmp_path: Path) -> None:
    rows = [["step", "train_loss", "val_loss"], ["0", "3.5", "3.75"], ["10", "3.0", ""], ["20", "2.5", "2.75"]]
    history = read(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert history.form == "table (CSV)"
    assert points(history, "loss") == [(0, 3.5), (10, 3.0), (20, 2.5)]
    assert points(history, "loss", "eval") == [(0, 3.75), (20, 2.75)]


def test_a_decimal_comma_is_understood_where_it_is_no_delimiter(tmp_path: Path) -> None:
    history = read(tmp_path, "step;loss\n1;3,5\n2;3,25\n3;3,125\n")
    assert points(history, "loss") == [(1, 3.5), (2, 3.25), (3, 3.125)]


def test_carriage_returns_and_a_byte_order_mark(tmp_path: Path) -> None:
    history = read(tmp_path, "\ufeffstep,loss\r\n1,3.5\r\n2,3.25\r\n")
    assert points(history, "loss") == [(1, 3.5), (2, 3.25)]


def test_utf_16(tmp_path: Path) -> None:
    history = read(tmp_path, "step,loss\n1,3.5\n2,3.25\n".encode("utf-16"))
    assert points(history, "loss") == [(1, 3.5), (2, 3.25)]


def test_columns_are_named_by_the_user(tmp_path: Path) -> None:
    text = "t,obj_2,held out\n1,3.5,4.0\n2,3.0,3.5\n"
    history = read(tmp_path, text, mapping={"step": "t", "loss": "obj_2", "eval/loss": "held out"})
    assert points(history, "loss") == [(1, 3.5), (2, 3.0)]
    assert points(history, "loss", "eval") == [(1, 4.0), (2, 3.5)]


def test_a_table_of_runs_is_declared_to_be_one(tmp_path: Path) -> None:
    text = "run_name,learning_rate,batch_size,final_loss\na,1e-3,8,2.5\nb,1e-4,8,2.75\n"
    history = read(tmp_path, text)
    assert "table of runs" in history.nothing
    assert not history.segments


def test_a_row_that_is_cut_is_said(tmp_path: Path) -> None:
    history = read(tmp_path, "step,loss,lr\n1,3.5,0.1\n2,3.25,0.1\n3,3.0")
    assert history.partial
    assert "1 rows have fewer cells than the header" in history.notes
    assert points(history, "loss") == [(1, 3.5), (2, 3.25), (3, 3.0)]


def test_epochs_are_the_axis_where_there_are_no_steps(tmp_path: Path) -> None:
    history = read(tmp_path, "epoch,loss,val_loss\n1,3.5,4\n2,3.0,3.5\n3,2.5,3.0\n")
    assert history.segments[0].axis == "epoch"
    assert names(history) == {"train/loss", "eval/loss"}


def test_a_logs_first_line_is_no_header(tmp_path: Path) -> None:
    """It has as many commas as the next lines, but says a number in each cell."""
    history = read(tmp_path, "step 0: train loss 4.5, val loss 4.6\nstep 10: train loss 4.0, val loss 4.1\n")
    assert points(history, "loss", "eval") == [(0, 4.6), (10, 4.1)]


def test_a_step_of_minus_one_stands_for_the_end_of_an_epoch(tmp_path: Path) -> None:
    text = "epoch,steps,cosine_pearson\n" + "".join(f"{e},-1,0.{80 + e}\n" for e in range(5))
    (segment,) = read(tmp_path, text).segments
    assert segment.axis == "epoch"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [({"los": "obj"}, "no quantity 'los': did you mean 'loss'"), ({"loss": "obi"}, "has no 'obi': did you mean 'obj'")],
)
def test_unknown_names_in_a_mapping_are_refused(mapping: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, "t,obj\n1,2.5\n2,2.25\n3,2.0\n", mapping=mapping)


def test_log_lines_below_a_sentence_with_a_comma_are_no_table(tmp_path: Path) -> None:
    text = "v6e1, random data\n" + "".join(
        f"step {s:05d} | loss: {4 - s / 10:.2f} | tok/s: 107,322\n" for s in (1, 2, 3)
    )
    assert points(read(tmp_path, text), "loss") == [(1, 3.9), (2, 3.8), (3, 3.7)]
