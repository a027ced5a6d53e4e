"""Termination and hang-up end a run, its children and its sweep, as an interrupt does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ontogeny.store.run import open_run
from tests.small_runs import write_text
from tests.verbs.test_analyze import RECIPE

WAIT_S = 90.0


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Is it running (and not only waiting to be buried)?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes under /proc")


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """A recipe that would take hours."""
    write_text(tmp_path / "words")
    text = RECIPE.format(texts=tmp_path / "words" / "*.txt").replace("steps: 8", "steps: 1000000")
    text = text.replace("every_steps: 2", "every_steps: 100000")
    (tmp_path / "long.yaml").write_text(
        text.replace("{kind: compression, k: 5}, reproduction, {kind: ledger, share: 1.0}", "token_nll")
    )
    return tmp_path / "long.yaml"


def start(*arguments: object) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ontogeny", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )


def trains(runs: Path) -> Callable[[], bool]:
    """Has a run there got to its steps?"""
    return lambda: any(runs.glob("*/metrics/part-*.parquet"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_run_in_order(long: Path, tmp_path: Path, number: signal.Signals) -> None:
    runs = tmp_path / "runs"
    process = start("run", long, "--runs", runs)
    until(trains(runs), "metrics")
    (path,) = runs.iterdir()
    before = len(open_run(path).metrics)
    time.sleep(0.5)
    started = children(process.pid)  # the page's process, if it is at it
    process.send_signal(number)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, said
    assert b"stopped; continue with  ontogeny resume RUN" in said
    run = open_run(path)
    assert run.status["state"] == "interrupted"
    assert run.status["message"] == "stopped by the user"
    assert len(run.metrics) > before  # what was in memory was flushed
    assert not any(alive(child) for child in started)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_leaves_no_workers_however_it_ends(long: Path, tmp_path: Path, number: signal.Signals) -> None:
    runs = tmp_path / "runs"
    process = start("sweep", long, "--seeds", 2, "--jobs", 2, "--runs", runs)
    until(lambda: len({path.parent for path in runs.glob("*/metrics/part-*.parquet")}) == 2, "metrics of two runs")
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    process.communicate(timeout=WAIT_S)
    until(lambda: not any(alive(worker) for worker in workers), "the workers end")
    states = [json.loads(path.read_text())["state"] for path in runs.glob("tiny-*/status.json")]
    assert states == ["interrupted"] * 2
    assert json.loads(next(runs.glob("*/sweep.json")).read_text())["threads"] == 1


def test_a_process_whose_parent_is_gone_does_not_begin() -> None:
    program = "from ontogeny.verbs.signals import end_with; import os; print(end_with(os.getppid()), end_with(1 << 30))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "True False\n"


@pytest.mark.parametrize("ignored", [False, True])
def test_a_process_is_interrupted_when_its_parent_is_killed(tmp_path: Path, ignored: bool) -> None:
    """Also in the background of a shell, which has its jobs ignore interrupts."""
    child = (
        "import os, pathlib, time; from ontogeny.verbs.signals import end_with; end_with(os.getppid())\n"
        f"pathlib.Path({str(tmp_path)!r}, 'ready').touch()\n"
        f"try: time.sleep(60)\nexcept KeyboardInterrupt: pathlib.Path({str(tmp_path)!r}, 'saved').touch()"
    )
    shell = "signal.signal(signal.SIGINT, signal.SIG_IGN); " if ignored else ""
    parent = f"import signal, subprocess, sys; {shell}subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    until((tmp_path / "ready").exists, "the child is ready")
    process.kill()
    process.wait()
    until((tmp_path / "saved").exists, "the child was interrupted")


def test_every_verb_is_stopped_by_termination(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ontogeny import cli

    monkeypatch.setattr(cli, "app", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        cli.main(["list"])
    assert ended.value.code == 130
    assert "ontogeny: stopped" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
