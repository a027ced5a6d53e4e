"""The disk fills up at any write: one clear error line, nothing lost, and the writer continues once there is space."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ontogeny.core.errors import RunFailedError, StoreError
from ontogeny.store import durable, metrics
from ontogeny.store.writer import RunWriter
from tests.store import scenarios

PARTIAL = {  # what a reader may find while a rewind, or a flush of metrics and samples, is half done
    "rewind": {"metrics", "measures", "samples", "checkpoints"},
    "flush": {"metrics", "samples"},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "base"
    scenarios.make_base(path)
    return path


@pytest.fixture(autouse=True)
def _few_small_parts_and_no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SMALL_PARTS", 4)
    monkeypatch.setattr(durable, "sync", lambda descriptor: None)


def failing(primitive: Callable[..., Any], at: int, number: int = errno.ENOSPC) -> Callable[..., Any]:
    """The primitive, except that its `at`-th call does half its work and then fails with a full disk."""
    calls = 0

    def call(descriptor: int, *data: memoryview) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            if data:
                primitive(descriptor, data[0][: len(data[0]) // 2])
            raise OSError(number, os.strerror(number))
        primitive(descriptor, *data)

    return call


def stop_half_way(folder: Path, error: Exception) -> None:
    (folder / "model" / "half").write_bytes(b"half")
    raise error


def fail_after_a_row(writer: RunWriter) -> None:
    writer.add_metric(30, "loss", "train", 0.1)
    raise ZeroDivisionError


def attempt(action: Callable[[RunWriter], None], writer: RunWriter) -> RunFailedError | None:
    try:
        action(writer)
    except RunFailedError as error:
        return error
    return None


@pytest.mark.parametrize("name", ["write_all", pytest.param("sync", marks=pytest.mark.slow)])
@pytest.mark.parametrize("action", scenarios.ACTIONS)
def test_every_action_survives_a_full_disk(base: Path, action: str, name: str, tmp_path: Path) -> None:
    before = scenarios.snapshot(base)
    shutil.copytree(base, tmp_path / "untroubled")
    with RunWriter.attach(tmp_path / "untroubled") as writer:
        scenarios.ACTIONS[action](writer)
    after = scenarios.snapshot(tmp_path / "untroubled")
    assert after != before
    for at in range(1, 100):
        path = tmp_path / str(at)
        shutil.copytree(base, path)
        with RunWriter.attach(path) as writer, pytest.MonkeyPatch.context() as patch:
            patch.setattr(durable, name, failing(getattr(durable, name), at))
            error = attempt(scenarios.ACTIONS[action], writer)
            if not error:
                break
            assert re.match(r"disk full: .+ could not be written, [\d.]+ [GM]B free; .+ intact", str(error))
            assert str(path) in str(error)
            assert scenarios.hidden_files(path) == []
            left = scenarios.snapshot(path)
            patch.undo()
            if action == "flush":
                writer.flush()  # the rows were kept
            else:
                scenarios.ACTIONS[action](writer)
        assert scenarios.snapshot(path) == after
        changed = {part for part in left if left[part] != before[part]}
        assert changed <= PARTIAL.get(action, set()) or left == after
        assert all(
            left[part] in (before[part], after[part]) for part in left if (action, part) != ("rewind", "metrics")
        )
    assert at > 1  # it did fail at least once
    assert scenarios.snapshot(path) == after


def test_the_fill_of_a_checkpoint_meets_a_full_disk(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "run")
    with RunWriter.attach(tmp_path / "run") as writer:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        native = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
        for error in (full, native):
            with (
                pytest.raises(RunFailedError, match=r"disk full: .*step-00000030 could not be written"),
                writer.checkpoint(scenarios.place(30)) as folder,
            ):
                stop_half_way(folder, error)
            assert scenarios.hidden_files(writer.path) == []
        assert [checkpoint.step for checkpoint in writer.run.checkpoints] == [10, 20]


def test_another_failure_is_not_called_a_full_disk(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(base, tmp_path / "run")
    with RunWriter.attach(tmp_path / "run") as writer:
        monkeypatch.setattr(durable, "write_all", failing(durable.write_all, 1, errno.EROFS))
        with pytest.raises(StoreError, match=r"status\.json could not be written: Read-only file system"):
            writer.set_status(state="done")


def test_rows_that_could_not_be_flushed_do_not_hide_why_the_run_stopped(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(base, tmp_path / "run")
    monkeypatch.setattr(durable, "write_all", failing(durable.write_all, 2))  # the first write signs the lock
    with pytest.raises(ZeroDivisionError) as raised, RunWriter.attach(tmp_path / "run") as writer:
        fail_after_a_row(writer)
    assert "disk full" in raised.value.__notes__[0]
    RunWriter.attach(tmp_path / "run").close()  # the lock was released
