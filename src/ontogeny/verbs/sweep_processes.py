"""Runs of a sweep, each in a process of its own, some at a time; ended with the sweep."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from ontogeny.core.errors import OntogenyError

Tell = Callable[[str], None]
_WRITTEN = "is being written by"
"""In the error of a run that another process holds (store/lock.py)."""
_GRACE_S = 30.0
"""How long an interrupted run has to save what it knows."""


class SweepInterruptedError(OntogenyError):
    """A sweep was stopped from outside."""

    exit_code: ClassVar[int] = 130


@dataclass(frozen=True, kw_only=True)
class Command:
    """One `ontogeny run`."""

    key: str
    """By which its outcome is known."""
    words: str
    name: str
    arguments: Sequence[str]


@dataclass(kw_only=True)
class _Child:
    command: Command
    process: "subprocess.Popen[bytes]"
    said: IO[bytes]

    def error(self) -> str | None:
        """Its error's line, once it has ended; None if all went well."""
        self.said.seek(0)
        text = self.said.read().decode(errors="replace").strip()
        self.said.close()
        if self.process.returncode == 0:
            return None
        return (text.splitlines() or [f"exit code {self.process.returncode}"])[0].removeprefix("ontogeny: ")


@dataclass(kw_only=True)
class _Queue:
    waiting: list[Command]
    later: list[tuple[float, Command]] = field(default_factory=list)
    """Held by another process: not before that time."""
    tried: dict[str, int] = field(default_factory=dict)

    def take(self) -> Command | None:
        """The next that may start now."""
        if self.waiting:
            return self.waiting.pop(0)
        for one in self.later:
            if one[0] <= time.monotonic():
                self.later.remove(one)
                return one[1]
        return None

    def again(self, command: Command) -> bool:
        """Try it once more, later and later; is it the first time?"""
        tries = self.tried[command.key] = self.tried.get(command.key, 0) + 1
        self.later.append((time.monotonic() + min(2.0**tries, 30.0), command))
        return tries == 1


def processes(jobs: int | None, runs: int) -> int:
    """How many at a time."""
    return max(min(jobs or os.cpu_count() or 1, runs), 1)


def run_all(
    commands: Sequence[Command], runs_dir: Path, jobs: int | None, tell: Tell, into: dict[str, str | None]
) -> None:
    """Run each; put its error's line, or None, into `into` as it ends. A run that another process writes is waited for.

    If this is interrupted, runs that are going on are, too.
    """
    at_a_time = processes(jobs, len(commands))
    threads = max((os.cpu_count() or 1) // at_a_time, 1)
    queue, children, done = _Queue(waiting=list(commands)), list[_Child](), 0
    try:
        while children or queue.waiting or queue.later:
            while len(children) < at_a_time and (command := queue.take()) is not None:
                children.append(_start(command, runs_dir, threads))
            for child in [one for one in children if one.process.poll() is not None]:
                children.remove(child)
                error, command = child.error(), child.command
                if error is not None and _WRITTEN in error:
                    if queue.again(command):
                        tell(f"waiting for {command.words}: {error.split(': wait')[0]}")
                    continue
                into[command.key] = error
                done += 1
                tell(f"{done}/{len(commands)}  {command.words}  {f'failed: {error}' if error else command.name}")
            time.sleep(0.05)
    finally:
        _end(children)


def _start(command: Command, runs_dir: Path, threads: int) -> _Child:
    words = [sys.executable, "-m", "ontogeny", "run", *command.arguments, "--runs", str(runs_dir), "--quiet"]
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its run
    # A session of its own: an interrupt at the terminal reaches the sweep alone, which ends its runs once each.
    process = subprocess.Popen(
        [*words, "--no-page"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)}, start_new_session=True,
    )  # fmt: skip
    return _Child(command=command, process=process, said=said)


def _end(children: Sequence[_Child]) -> None:
    """Interrupt those that are left, so that they save how far they came; kill what does not end."""
    for child in children:
        child.process.send_signal(signal.SIGINT)
    until = time.monotonic() + _GRACE_S
    try:
        while any(child.process.poll() is None for child in children) and time.monotonic() < until:
            time.sleep(0.05)
    finally:  # also if it is interrupted once more
        for child in children:
            child.process.kill()
            child.process.wait()
            child.said.close()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Meanwhile being terminated or hung up is like being interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
