import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ontogeny.core.errors import StoreError
from ontogeny.store.lock import RunLock, holder_is_gone
from ontogeny.store.run import open_run
from ontogeny.store.writer import RunWriter
from tests.store import scenarios

HOLD = """
import sys, time
from pathlib import Path
from ontogeny.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""

FORK = """
import os, sys, time
from pathlib import Path
from ontogeny.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
if os.fork() == 0:  # a data loader's worker that outlives its parent
    print("forked", flush=True)
    sys.stdin.read()
    print("child was alive", flush=True)
else:
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=f"is being written by process {holder.pid} on {socket.gethostname()}"):
            RunLock(path)
        assert not holder_is_gone(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert holder_is_gone(path)
    RunLock(path).release()


def test_a_run_whose_process_is_gone_says_that_it_was_interrupted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with scenarios.create(run) as writer:
        writer.set_status(state="running", step=3)
        assert open_run(run).status["state"] == "running"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (run / ".lock").write_text(json.dumps({"pid": gone.pid, "host": socket.gethostname()}), encoding="utf-8")
    assert open_run(run).status["state"] == "interrupted"
    assert open_run(run).status["step"] == 3
    (run / ".lock").write_text(json.dumps({"pid": gone.pid, "host": "elsewhere"}), encoding="utf-8")
    assert open_run(run).status["state"] == "running"  # it cannot be known from here


def test_a_second_writer_in_the_same_process_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with scenarios.create(run) as writer:
        with pytest.raises(StoreError, match=f"process {os.getpid()} on"):
            RunWriter.attach(run)
        with pytest.raises(StoreError, match=f"process {os.getpid()} on"):
            scenarios.create(run)
        writer.add_metric(0, "loss", "train", 1.0)  # the first goes on
    with RunWriter.attach(run) as writer:
        assert writer.metrics_rows == 1


def test_reading_needs_no_lock(tmp_path: Path) -> None:
    with scenarios.create(tmp_path / "run") as writer:
        writer.add_metric(0, "loss", "train", 1.0)
        writer.flush()
        assert len(scenarios.snapshot(tmp_path / "run")["metrics"]) == 1


def test_a_forked_child_neither_keeps_nor_frees_the_lock(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORK, tmp_path / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stdout.readline() == "forked\n"
        with pytest.raises(StoreError, match=f"process {parent.pid} on"):
            RunLock(tmp_path / ".lock")
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        RunLock(tmp_path / ".lock").release()  # though the child lives, and inherited the open file
        parent.stdin.close()
        assert parent.stdout.read() == "child was alive\n"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(StoreError, match=r"\.lock is a symbolic link, which is not followed: remove it"):
        RunLock(tmp_path / ".lock")
    assert precious.read_text() == "kept"
    (tmp_path / ".lock").unlink()
    RunLock(tmp_path / ".lock").release()
