"""Runs of a sweep, some at a time in processes of their own, one after the other in each; ended with the sweep."""

import contextlib
import json
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
_OURS = "ontogeny: "
"""Before an error's line on the command line."""
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
    after: str | None = None
    """Key of a command that trains what this one starts from."""


@dataclass(kw_only=True)
class _Worker:
    """A process that runs one command after the other (cli_worker.py)."""

    process: "subprocess.Popen[bytes]"
    said: IO[bytes]
    command: Command | None = None
    answer: bytes = b""
    said_before: int = 0
    """Bytes that it wrote to standard error when its command began."""

    def give(self, command: Command, runs_dir: Path) -> None:
        words = ["run", *command.arguments, "--runs", str(runs_dir), "--quiet", "--no-page"]
        self.command, self.answer = command, b""
        self.said_before = os.fstat(self.said.fileno()).st_size
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # one that is gone is told by its answer
            self.process.stdin.write(json.dumps(words).encode() + b"\n")

    def has_answered(self) -> bool:
        """Has its run ended, or the process with it?"""
        assert self.process.stdout is not None
        more = self.process.stdout.read()  # None: nothing yet
        self.answer += more or b""
        return self.answer.endswith(b"\n") or more == b""

    def error(self) -> str | None:
        """Its run's error in one line; None if all went well."""
        if self.answer.endswith(b"\n"):
            answer = json.loads(self.answer)
            return _first_of_ours(str(answer["said"]), f"exit code {answer['code']}") if answer["code"] else None
        code = self.process.wait()
        self.said.seek(self.said_before)
        line = _first_of_ours(self.said.read().decode(errors="replace"), "")
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with exit code {code}"
        return f"{ended}{': ' if line else ''}{line}"


def _first_of_ours(said: str, otherwise: str) -> str:
    """The first line that the command line calls an error; the last one if there is none."""
    lines = said.strip().splitlines()
    ours = [line.removeprefix(_OURS) for line in lines if line.startswith(_OURS)]
    return [*ours, *lines[-1:], otherwise][0]


@dataclass(kw_only=True)
class _Queue:
    waiting: list[Command]
    outcomes: dict[str, str | None]
    later: list[tuple[float, Command]] = field(default_factory=list)
    """Held by another process: not before that time."""
    tried: dict[str, int] = field(default_factory=dict)

    def take(self) -> Command | None:
        """The next that may start now."""
        for command in self.waiting:
            if command.after is None or self.outcomes.get(command.after, "not yet") is None:
                self.waiting.remove(command)
                return command
        for one in self.later:
            if one[0] <= time.monotonic():
                self.later.remove(one)
                return one[1]
        return None

    def hopeless(self) -> list[Command]:
        """Those that start from what could not be trained."""
        found = [one for one in self.waiting if one.after is not None and self.outcomes.get(one.after) is not None]
        self.waiting = [one for one in self.waiting if one not in found]
        return found

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

    One that starts from what another trains waits for that. If this is interrupted, runs that are going on are, too.
    """
    at_a_time = processes(jobs, len(commands))
    threads = max((os.cpu_count() or 1) // at_a_time, 1)
    queue, busy, idle = _Queue(waiting=list(commands), outcomes=into), list[_Worker](), list[_Worker]()

    def note(command: Command, error: str | None) -> None:
        into[command.key] = error
        done = sum(one.key in into for one in commands)
        tell(f"{done}/{len(commands)}  {command.words}  {f'failed: {error}' if error else command.name}")

    try:
        while busy or queue.waiting or queue.later:
            for command in queue.hopeless():
                note(command, f"a model that it starts from could not be trained: {into[command.after or '']}")
            while len(busy) < at_a_time and (given := queue.take()) is not None:
                busy.append(idle.pop() if idle else _start(threads))
                busy[-1].give(given, runs_dir)
            for worker in [one for one in busy if one.has_answered()]:
                busy.remove(worker)
                error, ended = worker.error(), worker.command
                assert ended is not None
                if error is None:
                    idle.append(worker)
                else:
                    _end([worker])
                if error is not None and _WRITTEN in error:
                    if queue.again(ended):
                        tell(f"waiting for {ended.words}: {error.split(': wait')[0]}")
                else:
                    note(ended, error)
            time.sleep(0.02)
    finally:
        _end([*busy, *idle])


def _start(threads: int) -> _Worker:
    said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its process
    # A session of its own: an interrupt at the terminal reaches the sweep alone, which ends its runs once each.
    process = subprocess.Popen(
        [sys.executable, "-m", "ontogeny.cli_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        bufsize=0,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        start_new_session=True,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return _Worker(process=process, said=said)


def _end(workers: Sequence[_Worker]) -> None:
    """Interrupt those that are left, so that they save how far they came; kill what does not end."""
    try:
        for worker in workers:
            assert worker.process.stdin is not None
            worker.process.stdin.close()  # which ends one that waits for a command
            worker.process.send_signal(signal.SIGINT)
        until = time.monotonic() + _GRACE_S
        while any(worker.process.poll() is None for worker in workers) and time.monotonic() < until:
            time.sleep(0.05)
    finally:  # also if it is interrupted once more
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
            for pipe in (worker.said, worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    pipe.close()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Meanwhile being terminated or hung up is like being interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        for one in before:  # both often come together: only one at the terminal that comes again is impatience
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What is ignored stays so: a sweep under nohup goes on when its terminal goes.
    now = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    before = {one: handler for one, handler in now.items() if handler is not signal.SIG_IGN}
    for one in before:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
