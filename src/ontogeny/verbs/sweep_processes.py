"""Runs of a sweep, several at a time: worker processes take one run after the other, and end with the sweep."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, ClassVar

from ontogeny.core.errors import OntogenyError
from ontogeny.runs.threads import VARIABLE

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
    """Under which its outcome is reported."""
    words: str
    name: str
    arguments: Sequence[str]
    after: tuple[str, ...] = ()
    """Keys of the commands that train what this one starts from or reads."""


@dataclass(kw_only=True)
class _Worker:
    """A process that runs one command after the other (cli_worker.py)."""

    process: "subprocess.Popen[bytes]"
    stderr: IO[bytes]
    command: Command | None = None
    answer: bytes = b""
    stderr_start: int = 0
    """Bytes that it had written to standard error when its command began."""

    def give(self, command: Command, runs_dir: Path) -> None:
        words = ["run", *command.arguments, "--runs", str(runs_dir), "--quiet", "--no-page"]
        self.command, self.answer = command, b""
        self.stderr_start = os.fstat(self.stderr.fileno()).st_size
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):  # a process that is gone shows in its answer
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
            return _error_line(str(answer["said"]), f"exit code {answer['code']}") if answer["code"] else None
        code = self.process.wait()
        self.stderr.seek(self.stderr_start)
        line = _error_line(self.stderr.read().decode(errors="replace"), "")
        ended = f"killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended with exit code {code}"
        return f"{ended}{': ' if line else ''}{line}"


def _error_line(output: str, otherwise: str) -> str:
    """The first line that the command line marks as an error; else the last line."""
    lines = output.strip().splitlines()
    ours = [line.removeprefix(_OURS) for line in lines if line.startswith(_OURS)]
    return [*ours, *lines[-1:], otherwise][0]


@dataclass(kw_only=True)
class _Queue:
    waiting: list[Command]
    outcomes: dict[str, str | None]
    later: list[tuple[float, Command]] = field(default_factory=list)
    """Runs that another process is writing, with the time before which they are not tried again."""
    tried: dict[str, int] = field(default_factory=dict)

    def take(self) -> Command | None:
        """The next command that may start now."""
        for command in self.waiting:
            if all(self.outcomes.get(key, "not yet") is None for key in command.after):
                self.waiting.remove(command)
                return command
        for delayed in self.later:
            not_before, command = delayed
            if not_before <= time.monotonic():
                self.later.remove(delayed)
                return command
        return None

    def hopeless(self) -> list[Command]:
        """Commands that start from a model that could not be trained; they no longer wait."""
        orphans = [command for command in self.waiting if self.why_never(command) is not None]
        self.waiting = [command for command in self.waiting if command not in orphans]
        return orphans

    def why_never(self, command: Command) -> str | None:
        """The error of the first model that it waits for in vain; None if there is none."""
        return next((error for key in command.after if (error := self.outcomes.get(key)) is not None), None)

    def again(self, command: Command) -> bool:
        """Try it once more, after twice the delay; is it the first time?"""
        tries = self.tried[command.key] = self.tried.get(command.key, 0) + 1
        self.later.append((time.monotonic() + min(2.0**tries, 30.0), command))
        return tries == 1


def processes(jobs: int | None, runs: int) -> int:
    """How many processes at a time."""
    return max(min(jobs or os.cpu_count() or 1, runs), 1)


def run_all(
    commands: Sequence[Command], runs_dir: Path, jobs: int | None, threads: int, tell: Tell, into: dict[str, str | None]
) -> None:
    """Run each on `threads` threads, and put its error line, or None, into `into` when it ends.

    A run that another process is writing is waited for, and so is the model that a run starts from. If this is
    interrupted, the runs that are going on are interrupted, too.
    """
    at_a_time = processes(jobs, len(commands))
    queue, busy, idle = _Queue(waiting=list(commands), outcomes=into), list[_Worker](), list[_Worker]()

    def note(command: Command, error: str | None) -> None:
        into[command.key] = error
        done = sum(each.key in into for each in commands)
        tell(f"{done}/{len(commands)}  {command.words}  {f'failed: {error}' if error else command.name}")

    try:
        while busy or queue.waiting or queue.later:
            for command in queue.hopeless():
                note(command, f"a model that it starts from could not be trained: {queue.why_never(command)}")
            while len(busy) < at_a_time and (given := queue.take()) is not None:
                busy.append(idle.pop() if idle else _start(threads))
                busy[-1].give(given, runs_dir)
            for worker in [worker for worker in busy if worker.has_answered()]:
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
    stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with its process
    # A session of its own, so that an interrupt at the terminal reaches only the sweep, which ends each run once.
    process = subprocess.Popen(
        [sys.executable, "-m", "ontogeny.cli_worker", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        env=os.environ | {VARIABLE: str(threads)},
        start_new_session=True,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    return _Worker(process=process, stderr=stderr)


def _end(workers: Sequence[_Worker]) -> None:
    """Interrupt the workers, so that their runs save their state; kill those that do not end."""
    try:
        for worker in workers:
            assert worker.process.stdin is not None
            worker.process.stdin.close()  # ends a worker that waits for a command
            worker.process.send_signal(signal.SIGINT)
        until = time.monotonic() + _GRACE_S
        while any(worker.process.poll() is None for worker in workers) and time.monotonic() < until:
            time.sleep(0.05)
    finally:  # also after a second interrupt
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
            for pipe in (worker.stderr, worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    pipe.close()
