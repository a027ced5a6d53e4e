from pathlib import Path

import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store import samples
from ontogeny.store.schema import SAMPLES
from ontogeny.store.writer import RunWriter
from tests.store import scenarios
from tests.store.scenarios import sample


@pytest.fixture
def writer(tmp_path: Path) -> RunWriter:
    return scenarios.create(tmp_path / "run")


def texts(writer: RunWriter) -> list[tuple[int, str, str]]:
    return [tuple(row) for row in writer.run.samples[["step", "measure", "text"]].values.tolist()]


def test_rows_come_back_by_step_then_measure_then_as_written(writer: RunWriter) -> None:
    writer.add_samples(20, "generation", [sample("c"), sample("b")])
    writer.add_samples(3, "z", [sample("a")])
    writer.add_samples(3, "generation", [{**sample(""), "decoding": "sampled", "draw": 2, "ended": False}])
    assert texts(writer) == []  # not before flush
    writer.flush()
    assert texts(writer) == [(3, "generation", ""), (3, "z", "a"), (20, "generation", "c"), (20, "generation", "b")]
    frame = writer.run.samples
    assert list(frame.columns) == SAMPLES.names
    assert frame["draw"].tolist() == [2, 0, 0, 0]
    assert frame["ended"].tolist() == [False, True, True, True]
    assert frame["reference"].isna().all()


def test_the_same_step_and_measure_replaces(writer: RunWriter) -> None:
    writer.add_samples(3, "generation", [sample("old"), sample("older")])
    writer.add_samples(3, "cloze", [sample("kept")])
    writer.flush()
    writer.add_samples(3, "generation", [sample("lost")])
    writer.add_samples(3, "generation", [sample("new")])
    writer.flush()
    assert texts(writer) == [(3, "cloze", "kept"), (3, "generation", "new")]
    writer.add_samples(3, "generation", [])
    writer.flush()
    assert texts(writer) == [(3, "cloze", "kept")]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**sample("a"), "txt": "b"}, "samples of 'generation': no column 'txt'"),
        *(
            ({key: value for key, value in sample("a").items() if key != column}, f"a row lacks '{column}'")
            for column in ("probe", "passage_id", "decoding", "text")
        ),
        ({**sample("a"), "ended": None}, "a row lacks 'ended'"),
    ],
)
def test_wrong_columns_are_the_authors_defect(writer: RunWriter, row: dict[str, object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        writer.add_samples(0, "generation", [row])


def test_damage_is_named(writer: RunWriter) -> None:
    writer.add_samples(3, "generation", [sample("a")])
    writer.flush()
    path = samples.list_parts(writer.path / "samples")[0][1]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match=rf"{path.name} is damaged"):
        _ = writer.run.samples
