from pathlib import Path

import pytest

from ontogeny.report.exports import plain_text, summary, write_pictures
from ontogeny.report.figures.loss import probe_loss
from ontogeny.store.run import Run
from ontogeny.store.run_group import RunGroup
from tests.store.test_run_group import write_metrics


def test_the_summary_has_a_row_per_checkpoint(tmp_path: Path) -> None:
    rows = [(step, "loss", "train", 10.0 - step) for step in range(4)]
    rows += [
        (0, "evaluation/nll", "train", 9.0),
        (4, "evaluation/nll", "train", 5.0),
        (4, "evaluation/nll", "novel", 7.0),
    ]
    table = summary(RunGroup([write_metrics(tmp_path / "run", rows)]))
    assert table["step"].tolist() == [0, 4]
    assert table["train evaluation/nll"].tolist() == [9.0, 5.0]
    assert table["novel evaluation/nll"].isna().tolist() == [True, False]
    # Updates 0 … 3 lie between the two states: mean of 10, 9, 8, 7.
    assert table["training loss"].iloc[1] == 8.5
    assert table["training loss"].isna().iloc[0]


def test_a_run_without_measures_still_has_a_summary(tmp_path: Path) -> None:
    table = summary(RunGroup([write_metrics(tmp_path / "run", [(0, "loss", "train", 2.0)])]))
    assert table["training loss"].tolist() == [2.0]
    assert summary(RunGroup([write_metrics(tmp_path / "none", [])])).empty


def test_plain_text_says_the_same_sentences(run: Run) -> None:
    text = plain_text(RunGroup([run]))
    assert "It learned the text it was trained on" in text
    assert "Started from:   synthetic-base-12345678, step 400" in text
    assert max(map(len, text.splitlines())) <= 120


def test_pictures_have_colours_of_their_own(run: Run, tmp_path: Path) -> None:
    figure = probe_loss(RunGroup([run]))
    assert figure is not None
    svg, png, pdf = write_pictures(tmp_path, {"loss": figure})
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")
    text = svg.read_text()
    assert "var(--" not in text
    assert "#0072b2" in text


@pytest.mark.parametrize("other", ["notes.svg"])
def test_pictures_of_others_stay(run: Run, tmp_path: Path, other: str) -> None:
    (tmp_path / other).write_text("mine")
    figure = probe_loss(RunGroup([run]))
    assert figure is not None
    write_pictures(tmp_path, {"loss": figure})
    assert (tmp_path / other).read_text() == "mine"
