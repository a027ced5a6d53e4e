"""Three columns: step, name, number."""

from pathlib import Path

from tests.integrations.importers.reading import points, read


def test_columns(tmp_path: Path) -> None:
    history = read(tmp_path, "0 val 10.5\n0 train 10.75\n1 train 9.5\n2 train 8.5\n2 val 8.25\n")
    assert points(history, "loss") == [(0, 10.75), (1, 9.5), (2, 8.5)]
    assert points(history, "loss", "eval") == [(0, 10.5), (2, 8.25)]


def test_other_lines_are_counted(tmp_path: Path) -> None:
    lines = [f"{i} train {9 - i / 10}" for i in range(20)]
    history = read(tmp_path, "\n".join([*lines[:5], "killed", *lines[5:]]))
    assert history.partial
    assert history.notes == ("1 lines do not have three columns",)
    assert len(points(history, "loss")) == 20
