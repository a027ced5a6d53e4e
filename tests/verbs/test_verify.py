"""`ontogeny verify`: a table of what is lost or damaged."""

import shutil
from pathlib import Path

import pytest

from tests.store import scenarios
from tests.verbs.conftest import Call


@pytest.fixture
def base(tmp_path: Path) -> Path:
    scenarios.make_base(tmp_path / "run")
    return tmp_path / "run"


def test_a_whole_run(ontogeny: Call, base: Path) -> None:
    called = ontogeny("verify", base)
    assert (called.code, called.out, called.err) == (0, f"{base}: nothing is wrong\n", "")
    assert ontogeny("verify", base, "--json").json() == {"run": str(base), "checksums": True, "problems": []}


def test_what_is_wrong_stands_in_a_table_and_nothing_is_changed(ontogeny: Call, base: Path) -> None:
    (base / "status.json").write_text("{")
    (base / "samples" / "part-0000000010-generation.parquet").unlink()
    (base / "trajectory.zarr" / "token_nll" / "nll" / "c.0.0").write_bytes(b"x")
    shutil.rmtree(base / "checkpoints" / "step-00000020" / "trainer")
    files = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    called = ontogeny("verify", base)
    assert called.code == 1
    lines = called.out.splitlines()
    assert lines[0].split() == ["file", "what", "is", "wrong"]
    assert [line.split()[0] for line in lines[1:-1]] == [
        "status.json",
        "samples/part-0000000010-generation.parquet",
        "trajectory.zarr/token_nll/nll/c.0.0",
        "checkpoints/step-00000020/trainer/state.json",
    ]
    assert lines[-1] == "4 files are lost or damaged; nothing was changed"
    repair = ontogeny("verify", base, "--repair")
    assert repair.code == 1
    assert repair.out.count("repair: ") == 4
    assert "ontogeny resume RUN  goes on from the one before it" in repair.out
    assert {path: path.read_bytes() for path in base.rglob("*") if path.is_file()} == files


def test_a_run_without_its_provenance_is_checked_and_another_directory_is_refused(
    ontogeny: Call, base: Path, tmp_path: Path
) -> None:
    (base / "provenance.json").unlink()
    called = ontogeny("verify", base)
    assert called.code == 1
    assert "provenance.json  is missing" in called.out
    (tmp_path / "empty").mkdir()
    called = ontogeny("verify", tmp_path / "empty")
    assert called.code == 2
    assert "is not a run" in called.err


def test_a_run_of_an_earlier_version(ontogeny: Call, base: Path) -> None:
    (base / "MANIFEST.json").unlink()
    (base / "provenance.json").write_text('{"format_version": 1}')  # without a checksum
    called = ontogeny("verify", base)
    assert called.code == 0
    assert "a run of an earlier version: not all of its files have checksums" in called.out


def test_a_lock_that_is_a_folder(ontogeny: Call, base: Path) -> None:
    (base / ".lock").unlink()
    (base / ".lock").mkdir()
    called = ontogeny("verify", base)
    assert called.code == 1
    assert ".lock  is no file, and no writer can lock it" in " ".join(called.out.split(" "))


def test_a_lock_that_is_a_link(ontogeny: Call, base: Path, tmp_path: Path) -> None:
    (base / ".lock").unlink()
    (base / ".lock").symlink_to(tmp_path / "elsewhere")
    called = ontogeny("verify", base)
    assert called.code == 1
    assert ".lock" in called.out
    assert not (tmp_path / "elsewhere").exists()
