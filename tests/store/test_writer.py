from pathlib import Path

import numpy as np
import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store.run import open_run
from ontogeny.store.writer import RunWriter
from tests.store import scenarios
from tests.store.scenarios import place, result, sample


def test_a_run_is_created_once(tmp_path: Path) -> None:
    scenarios.create(tmp_path / "run").close()
    with pytest.raises(StoreError, match="already holds a run: choose another directory"):
        scenarios.create(tmp_path / "run")
    RunWriter.attach(tmp_path / "run").close()  # the refusal has released the lock


def test_a_creation_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    scenarios.create(tmp_path / "run").close()
    (tmp_path / "run" / "provenance.json").unlink()  # it is written last
    with pytest.raises(StoreError, match="is not a run"):
        RunWriter.attach(tmp_path / "run")
    scenarios.create(tmp_path / "run").close()
    assert open_run(tmp_path / "run").provenance["seed"] == 3


def test_a_run_does_not_touch_what_else_is_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "theirs.bin").write_bytes(b"1")
    (tmp_path / ".theirs.tmp").write_bytes(b"2")
    scenarios.create(tmp_path).close()
    RunWriter.attach(tmp_path).close()
    assert (tmp_path / "checkpoints" / "theirs.bin").exists()
    assert (tmp_path / ".theirs.tmp").exists()


def test_status_and_provenance_keep_what_is_not_changed(tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "run") as writer:
        writer.set_status(state="running", step=3, loss=np.float32(0.5), rate=float("nan"))
        writer.set_status(step=4)
        status = writer.run.status
        assert (status["state"], status["step"], status["loss"], status["rate"]) == ("running", 4, 0.5, None)
        assert status["updated_unix_s"] > 0
        writer.update_provenance(extended_to=30)
        assert writer.run.provenance == {"seed": 3, "format_version": 1, "extended_to": 30}


def test_rows_are_counted_when_they_are_written(tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "run") as writer:
        writer.add_metric(0, "loss", "train", np.float32(0.5))
        assert writer.metrics_rows == 0
        writer.flush()
        writer.flush()
        assert writer.metrics_rows == 1
        with pytest.raises((TypeError, ValueError)):
            writer.add_metric(0, "loss", "train", "low")  # type: ignore[arg-type]
        writer.flush()
        assert writer.metrics_rows == 1


def test_a_rewind_leaves_what_an_uninterrupted_run_had_at_that_state(tmp_path: Path) -> None:
    def work(writer: RunWriter, steps: range) -> None:
        for step in steps:
            if step % 10 == 0:
                writer.put_measure("token_nll", place(step), result(float(step)))
                writer.add_samples(step, "generation", [sample(f"at {step}")])
                scenarios.save(writer, step, "w")
            writer.add_metric(step, "loss", "train", 1.0 / (1 + step))

    with scenarios.create(tmp_path / "straight") as writer:
        work(writer, range(35))
    with scenarios.create(tmp_path / "rewound") as writer:
        work(writer, range(25))
        writer.flush()
        assert len(writer.run.metrics) == 25
    with RunWriter.attach(tmp_path / "rewound") as writer:
        writer.rewind(10, 10)  # state 10: rows of steps 0 … 9
        left = scenarios.snapshot(tmp_path / "rewound")
        assert [row[0] for row in left["metrics"]] == list(range(10))
        assert list(left["measures"]["token_nll"]) == [0, 10]
        assert left["checkpoints"] == {0: "w0", 10: "w10"}
        assert left["samples"] == [[0, "at 0"], [10, "at 10"]]
        work(writer, range(10, 35))
    assert scenarios.snapshot(tmp_path / "rewound") == scenarios.snapshot(tmp_path / "straight")


def test_a_rewind_beyond_what_is_there_changes_nothing(tmp_path: Path) -> None:
    scenarios.make_base(tmp_path / "run")
    before = scenarios.snapshot(tmp_path / "run")
    with RunWriter.attach(tmp_path / "run") as writer:
        with pytest.raises(StoreError, match="holds 12 metrics rows, 13 belong to step 10"):
            writer.rewind(10, 13)
        assert scenarios.snapshot(tmp_path / "run") == before
        writer.rewind(20, 12)
    assert scenarios.snapshot(tmp_path / "run") == before
