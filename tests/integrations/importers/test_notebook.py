"""Tables in notebooks."""

import json
from pathlib import Path

from tests.integrations.importers.reading import points, read

TABLE = """<div><progress value='20' max='20'></progress></div>
<table border="1" class="dataframe">
  <thead><tr style="text-align: left;"><th>Step</th><th>Training Loss</th><th>Validation Loss</th></tr></thead>
  <tbody>
    <tr><td>10</td><td>2.500000</td><td>2.750000</td></tr>
    <tr><td>20</td><td>No log</td><td>2.250000</td></tr>
    <tr><td>30</td><td>1.500000</td><td>1.750000</td></tr>
  </tbody>
</table>"""


def notebook(*outputs: str) -> str:
    cells = [
        {"cell_type": "code", "outputs": [{"data": {"text/html": html.splitlines(keepends=True)}}], "source": []}
        for html in outputs
    ]
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})


def test_a_fragment_of_html(tmp_path: Path) -> None:
    history = read(tmp_path, TABLE)
    assert history.form == "notebook table (HTML)"
    assert points(history, "loss") == [(10, 2.5), (30, 1.5)]
    assert points(history, "loss", "eval") == [(10, 2.75), (20, 2.25), (30, 1.75)]


def test_a_notebooks_output(tmp_path: Path) -> None:
    assert points(read(tmp_path, notebook(TABLE)), "loss") == [(10, 2.5), (30, 1.5)]


def test_two_tables_are_two_runs(tmp_path: Path) -> None:
    history = read(tmp_path, notebook(TABLE, TABLE.replace("2.500000", "9.500000")))
    assert len(history.segments) == 2
    assert points(history, "loss", segment=1)[0] == (10, 9.5)


def test_a_header_without_rows_is_no_curve(tmp_path: Path) -> None:
    head = TABLE[: TABLE.index("<tbody>")] + "</table>"
    assert read(tmp_path, head).nothing == "its table has a header but no rows: nothing was logged"


def test_a_table_of_something_else_is_no_curve(tmp_path: Path) -> None:
    page = "<table><tr><th>Name</th><th>Age</th></tr><tr><td>A</td><td>3</td></tr></table>"
    assert read(tmp_path, notebook(page)).nothing == "it has no table of losses"


def test_other_columns_beside_a_validation_loss_are_of_the_evaluation(tmp_path: Path) -> None:
    with_rouge = TABLE.replace("<th>Validation Loss</th>", "<th>Validation Loss</th><th>Rouge L</th>").replace(
        "0</td></tr>", "0</td><td>0.125</td></tr>"
    )
    assert points(read(tmp_path, with_rouge), "rouge_l", "eval") == [(10, 0.125), (20, 0.125), (30, 0.125)]
    without = TABLE.replace("Validation Loss", "reward")
    assert len(points(read(tmp_path, without), "reward")) == 3
