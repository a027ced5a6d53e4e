"""A writer killed at any of its calls to the file layer leaves the run as it was, or as it would have become."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store import metrics
from ontogeny.store.writer import RunWriter
from tests.store import scenarios

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-m", "tests.store.killing", root], check=True, cwd=ROOT)
    return root


@pytest.fixture(autouse=True)
def _few_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "SMALL_PARTS", 4)


def runs_of(root: Path, action: str) -> tuple[list[Path], Path]:
    """The killed runs of an action, and the one that was not killed."""
    runs = sorted((root / action).iterdir(), key=lambda path: int(path.name))
    return runs[:-1], runs[-1]


@pytest.mark.parametrize("action", scenarios.ACTIONS)
def test_a_killed_writer_leaves_each_part_as_before_or_after(killed: Path, action: str) -> None:
    dead, alive = runs_of(killed, action)
    before, after = scenarios.snapshot(killed / "base"), scenarios.snapshot(alive)
    assert before != after  # else the test could not fail
    assert len(dead) >= 4  # every atomic write has at least: write, sync, rename, sync
    for run in dead:
        left = scenarios.snapshot(run)
        for part, value in left.items():
            if part == "metrics" and action == "rewind":  # cut from the end, part by part
                assert value[: len(after[part])] == after[part]
                assert value == before[part][: len(value)]
            elif part == "checkpoints" and action == "rewind":
                assert value.items() >= after[part].items()
            elif part == "checkpoints" and action == "checkpoint_replaced":  # between two renames there is none
                assert value in (before[part], after[part], {10: "w10"})
            else:
                assert value in (before[part], after[part]), f"{part} after a kill at call {run.name}"


@pytest.mark.parametrize(
    "action",
    [name if name == "checkpoint_new" else pytest.param(name, marks=pytest.mark.slow) for name in scenarios.ACTIONS],
)
def test_going_on_after_a_kill_gives_the_uninterrupted_run(killed: Path, action: str, tmp_path: Path) -> None:
    dead, alive = runs_of(killed, action)
    after = scenarios.snapshot(alive)
    for number, run in enumerate(dead):
        moved = tmp_path / str(number)  # runs can be moved, and the dead writer's lock does not stand in the way
        shutil.copytree(run, moved)
        with RunWriter.attach(moved) as writer:
            assert scenarios.hidden_files(moved) == []
            if action != "rewind":
                writer.rewind(20, scenarios.BASE_ROWS)
            scenarios.ACTIONS[action](writer)
        assert scenarios.snapshot(moved) == after, f"after a kill at call {run.name}"
        assert scenarios.hidden_files(moved) == []


def test_a_replaced_checkpoint_is_brought_back(killed: Path, tmp_path: Path) -> None:
    dead, _ = runs_of(killed, "checkpoint_replaced")
    without = [run for run in dead if 20 not in scenarios.snapshot(run)["checkpoints"]]
    assert without  # killed between moving the old one away and moving the new one in
    for run in without:
        shutil.copytree(run, tmp_path / run.name)
        RunWriter.attach(tmp_path / run.name).close()
        assert scenarios.snapshot(tmp_path / run.name)["checkpoints"] == {10: "w10", 20: "w20"}


def test_overwriting_in_place_is_caught(killed: Path) -> None:
    dead, _ = runs_of(killed, "careless")
    with pytest.raises(StoreError, match=r"status\.json is damaged"):
        scenarios.snapshot(dead[0])
