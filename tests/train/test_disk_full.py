"""A disk that is really full: a small file system of its own, where the machine lets us have one."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontogeny.core.errors import RunFailedError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import validate
from ontogeny.runs import execute as execution
from ontogeny.runs.execute import execute
from ontogeny.store import durable
from ontogeny.store.run import open_run
from ontogeny.train.training import SaveEvent
from tests.small_runs import differences, tree


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """Take all space but a little."""
    import shutil

    ballast = folder / "ballast"
    ballast.write_bytes(b"\0" * max(shutil.disk_usage(folder).free - leave_bytes, 0))
    return ballast


@pytest.mark.slow
@pytest.mark.parametrize("leave_bytes", [0, *(pytest.param(one, marks=pytest.mark.slow) for one in (60_000, 250_000))])
def test_a_full_disk_loses_nothing(leave_bytes: int, small_disk: Path, recipe: Recipe, tmp_path: Path) -> None:
    """It fills up after the checkpoint at step 4: with no space at all, in a measure, or in the next checkpoint."""
    whole = execute(recipe, runs_dir=tmp_path / "whole")
    ballast: list[Path] = []

    def listen(event: object) -> None:
        if isinstance(event, SaveEvent) and event.step == 4:
            ballast.append(fill(small_disk, leave_bytes))

    with pytest.raises(RunFailedError, match=r"disk full: .* could not be written") as error:
        execute(recipe, runs_dir=small_disk, listen=listen)
    assert "\n" not in str(error.value)
    path = next(small_disk.glob("small-*"))
    last = open_run(path).checkpoints[-1]
    last.verify()
    assert last.step >= 4
    ballast[0].unlink()
    assert differences(whole, execute(recipe, runs_dir=small_disk)) == []


class _FullError(RuntimeError):
    """What safetensors raises: its cause stands in the message only."""


def test_a_disk_that_is_full_when_the_base_is_saved_is_said(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is the base that is named, though the status could not be written either."""
    recipe = validate(tree(texts, train={"steps": 2, "batch": 6, "lr": 0.01, "lora": {"rank": 2}}), "test")

    def full(model: object, folder: Path) -> None:
        def no_space(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(durable, "write_all", no_space)
        raise _FullError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(execution, "save_model", full)
    with pytest.raises(RunFailedError, match=r"^disk full: .*/base could not be written, .* free some space") as error:
        execute(recipe, runs_dir=tmp_path)
    assert error.value.__notes__[0].startswith("and then: disk full: ")
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    assert open_run(execute(recipe, runs_dir=tmp_path)).status["state"] == "finished"
    assert (path / "base" / "model.safetensors").exists()
