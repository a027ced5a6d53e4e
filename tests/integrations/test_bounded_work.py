"""The work of reading a log is bounded by its length: no line, table or page keeps a machine busy."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ontogeny.core.errors import OntogenyError
from ontogeny.integrations.importers import _segments
from ontogeny.integrations.importers._template import NUMBER_IN_LINE, plan_of
from ontogeny.integrations.importing import read_history
from tests.cpu_time import cpu_seconds

LONGEST = 4096
PIECES = (
    *("a-", "a/", "a.", "a ", "a", "1", "1,", ",1", " ", "\t", "-", "_", "a_", "=", "a=", "a=1,", ":", "é", "中", "١"),
    *(
        "val_",
        "step 1 ",
        "epoch 1 ",
        "loss ",
        "loss-",
        "1/2 ",
        "1/2 [",
        "5%|",
        "|",
        "[a]:",
        "[",
        "'",
        "{'a':",
        '"',
        '\\"',
    ),
    *("1.1", "1e1", "nan", "INFO ", "Error", "[CURRICULUM] Step 1 ", "[TOTAL] Loss: ", "max_steps ", "\x1b["),
)
"""What adversarial lines repeat: each may match the beginning of many patterns, and the end of none."""
OPENINGS = ("", "step 1 loss ", "val", "loss= 1/2 [", "[CURRICULUM] Step 1")


def adversarial_lines(length: int) -> list[str]:
    return [(begin + piece * length)[:length] + end for begin in OPENINGS for piece in PIECES for end in ("", "!")]


def test_a_line_of_hyphens_is_planned_at_once() -> None:
    """Every hyphen may be part of a word or stand between two: with another pattern, one such line took 11 s."""
    line = "step 1 loss 2.5 " + "a-" * 2000
    assert cpu_seconds(lambda: plan_of(tuple(NUMBER_IN_LINE.split(line)[::2]))) < 2  # measured: 0.01


def test_names_with_hyphens_are_read(tmp_path: Path) -> None:
    """The counterpart: hyphens inside names are no separators, and a checkpoint's number is no metric."""
    lines = [f"step {i}: train-loss: 2.{i} grad norm=1.5, lr 3e-4 | checkpoint-500" for i in (1, 2, 3)]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    (segment,) = read_history(tmp_path / "log.txt").segments
    last = {series.name: float(series.values[-1]) for series in segment.series}
    assert last == {"loss": 2.3, "grad_norm": 1.5, "learning_rate": 3e-4}


def _read(path: Path, text: str) -> float:
    path.write_text(text, encoding="utf-8", newline="\n")

    def call() -> None:
        try:
            read_history(path)
        except OntogenyError:
            return

    return cpu_seconds(call)


def test_no_adversarial_line_takes_long(tmp_path: Path) -> None:
    """A sample of the lines; in one file as the printed logs that they imitate, so that every text format is tried."""
    lines = adversarial_lines(1024)[::7]
    good = [f"iter {i}: loss 2.5, time 1 ms" for i in range(5)] + ["Epoch 1/2", "Epoch 2/2", "[TOTAL] Loss: 2.5"]
    assert _read(tmp_path / "log.txt", "\n".join([*good, *lines])) < 20  # measured: 0.5


@pytest.mark.slow
@pytest.mark.parametrize("begin", OPENINGS)
def test_each_adversarial_line_takes_time_in_proportion_to_its_length(begin: str, tmp_path: Path) -> None:
    """Quadratic time would make 16 kB take 64 times as long as 2 kB (lines of printed logs are cut at 4 kB)."""
    for piece in PIECES:
        for end in ("", "!"):
            short, long = [
                min(
                    _read(tmp_path / "log.txt", "loss: 1\n" + begin + piece * (n // len(piece)) + end) for _ in range(2)
                )
                for n in (2048, 16384)
            ]
            assert long < max(0.2, 20 * short), (begin, piece, end, short, long)


def test_an_unclosed_page_is_read_in_one_pass(tmp_path: Path) -> None:
    """Python's own parser of HTML takes minutes for either of these."""
    row = "<tr><th>Step</th><th>Training Loss</th></tr><tr><td>1</td><td>2.5</td></tr>"
    for piece in ("<!--", "<![CDATA[", "<td ", "<a href='", "</", "<td>&#" + "9" * 5000 + ";</td>", "<table><tr><td>"):
        text = f"<table>{row}</table><p>loss</p>" + piece * (60_000 // len(piece))
        assert _read(tmp_path / "page.html", text) < 10  # measured: below 0.1
        (segment,) = read_history(tmp_path / "page.html").segments
        assert segment.series[0].values.tolist() == [2.5]


def test_many_small_tables_are_read_once(tmp_path: Path) -> None:
    """Each table is a run of its own. Of 3,000, the first 1,000 are read, and a note says so."""
    table = "<table><tr><th>Step</th><th>Loss</th></tr><tr><td>1</td><td>2.5</td></tr></table>\n"
    assert _read(tmp_path / "page.html", table * 3000) < 20  # measured: 0.5
    history = read_history(tmp_path / "page.html")
    assert len(history.segments) == _segments.MOST_NAMED_WRITERS
    assert history.notes == ("3000 writers: only the first 1000 were read",)


def test_few_tables_are_all_read(tmp_path: Path) -> None:
    table = "<table><tr><th>Step</th><th>Loss</th></tr><tr><td>1</td><td>2.5</td></tr></table>"
    _read(tmp_path / "page.html", table * 3)
    history = read_history(tmp_path / "page.html")
    assert len(history.segments) == 3
    assert history.notes == ()


def test_short_rows_below_a_wide_header_cost_what_they_hold(tmp_path: Path) -> None:
    """4,000 columns, three full rows, and 40,000 rows of one cell: 160 million cells that are not there."""
    names = ",".join(["step", "loss", *(f"c{i}" for i in range(3998))])
    full = "\n".join(",".join(["1"] * 4000) for _ in range(3))
    assert _read(tmp_path / "log.csv", f"{names}\n{full}\n" + "1\n" * 40_000) < 15  # measured: 0.4


def test_a_string_that_is_not_closed_is_looked_through_once(tmp_path: Path) -> None:
    entries = '[{"step": 1, "loss": 2.5},\n{"step": 2, "loss": 2.25},\n{"note": "' + '\\"' * 40_000
    assert _read(tmp_path / "log.json", entries) < 10  # measured: 0.1
    (segment,) = read_history(tmp_path / "log.json").segments
    assert segment.series[0].values.tolist() == [2.5, 2.25]


def test_rows_of_a_parquet_file_are_counted_before_they_are_read(tmp_path: Path) -> None:
    """20,000,001 equal values take some kB on the disk and minutes to read."""
    path = tmp_path / "log.parquet"
    values = pa.chunked_array([_zeros(1_000_001)] * 20)
    pq.write_table(pa.table({"loss": values}), path)
    assert path.stat().st_size < 1_000_000
    nothing = ""

    def call() -> None:
        nonlocal nothing
        nothing = read_history(path).nothing

    assert cpu_seconds(call) < 2  # measured: below 0.01
    assert nothing == (
        "the file has 20,000,020 rows of 1 columns: at most 20,000,000 values are read: it is no log of a training"
    )
    pq.write_table(pa.table({"loss": _zeros(3)}), path)
    assert read_history(path).nothing == ""


def _zeros(count: int) -> pa.Array:
    return pa.Array.from_buffers(pa.int8(), count, [None, pa.py_buffer(bytes(count))])


@pytest.mark.parametrize("digits", ["9" * 400, "1e999", "nan", "-1"])
@pytest.mark.parametrize(
    "line",
    [
        '{{"loss": 2.5, "global_step/max_steps": "1/{digits}"}}',
        '{{"current_steps": 1, "total_steps": "{digits}", "loss": 2.5}}',
        "Num Epochs = {digits}\n 5%|x| 1/{digits} [00:01<00:02, loss=2.5]{{'loss': 2.5, 'epoch': 1.0}}",
        "Epoch 1/{digits}\nloss: 2.5\nEpoch 2/{digits}\nloss: 2.25",
        "step {digits}/{digits} loss: 2.5",
        "[CURRICULUM] Step {digits} (1%): kd=0.7\n[TOTAL] Loss: 2.5",
        '{{"max_steps": {digits}, "num_train_epochs": {digits}, "log_history": [{{"step": 1, "loss": 2.5}}]}}',
    ],
)
def test_numbers_that_count_nothing_are_no_settings(line: str, digits: str, tmp_path: Path) -> None:
    """No traceback; a setting is there only if it is a number that can be meant."""
    _read(tmp_path / "log.txt", line.format(digits=digits))
    try:
        config = read_history(tmp_path / "log.txt").config
    except OntogenyError:
        return
    assert all(abs(config[key]) < 2**53 for key in ("max_steps", "epochs") if key in config)
