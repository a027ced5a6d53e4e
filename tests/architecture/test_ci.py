"""The whole check runs every part, and fails if any part does."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT


@pytest.mark.parametrize(
    ("failing", "code", "closing"),
    [
        ("", 0, "ci: all passed: check passed in"),
        ("check", 2, "ci: FAILED: check FAILED (2) in"),
        ("test", 3, "ci: FAILED: check passed in"),
        ("check test", 2, "test FAILED (3) in"),
        ("slow", 4, "slow FAILED (4) in"),
    ],
)
def test_every_part_runs_and_counts(tmp_path: Path, failing: str, code: int, closing: str) -> None:
    """With programs in the place of make and the browser that do nothing but end as they are told."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    programs = tmp_path / "programs"
    programs.mkdir()
    ends = "".join(f"  {part}) exit {number};;\n" for part, number in (("check", 2), ("test", 3), ("slow", 4)))
    make = f'#!/bin/sh\necho "make $1"\ncase " {failing} " in *" $1 "*) ;; *) exit 0;; esac\ncase $1 in\n{ends}esac\n'
    for name, text in (("make", make), ("chromium", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", tmp_path / ".ci" / "run"], capture_output=True, text=True, env=environment, check=False
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == ["make check", "make test", "make slow"]
    assert closing in lines[-1]
    assert done.returncode == code
