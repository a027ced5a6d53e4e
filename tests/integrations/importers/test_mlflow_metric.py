"""Files of MLflow's folder `mlruns`."""

from pathlib import Path

import pytest

from ontogeny.integrations.importers._source import NotReadableError
from ontogeny.integrations.importing import read_history
from tests.integrations.importers.reading import points

TEXT = "1700000000000 2.5 0\n1700000060000 2.25 10\n1700000120000 nan 20\n"


def _written(folder: Path, name: str, text: str = TEXT) -> Path:
    path = folder / "mlruns" / "0" / "0123abcd" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_the_metric_is_named_by_its_path(tmp_path: Path) -> None:
    history = read_history(_written(tmp_path, "metrics/eval/loss", TEXT[:41]))
    assert points(history, "loss", "eval") == [(0, 2.5), (10, 2.25)]
    (series,) = history.segments[0].series
    assert series.times_unix_s.tolist() == [1_700_000_000.0, 1_700_000_060.0]  # milliseconds / 1000


def test_a_value_that_is_nan_is_one(tmp_path: Path) -> None:
    history = read_history(_written(tmp_path, "metrics/loss"))
    assert [step for step, _ in points(history, "loss")] == [0, 10, 20]
    assert not history.partial


def test_a_line_that_was_cut_is_noted(tmp_path: Path) -> None:
    history = read_history(_written(tmp_path, "metrics/loss", TEXT + "17000001"))
    assert history.notes == ("1 lines are no time, value and step",)


def test_such_numbers_elsewhere_are_no_metric_of_mlflow(tmp_path: Path) -> None:
    """A file of three numbers per line that does not lie below `metrics` has no name for them."""
    path = _written(tmp_path, "params/loss")
    with pytest.raises(NotReadableError, match="not recognised"):
        read_history(path)
