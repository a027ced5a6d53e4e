"""Keep a run's page fresh while it trains, in a process of its own that steps back for the training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ontogeny.train.training import Event, Listener, SaveEvent, StageEvent

_MOST_SHARE = 0.1


class LivePage:
    """A listener that has the page rewritten after a checkpoint.

    Where checkpoints follow each other so fast that pages would take more than a tenth of the time, some checkpoints
    go without; the page at the end is always written, by whoever owns the run.
    """

    def __init__(self, then: Listener) -> None:
        self._then = then
        self._writing: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._rest_until = 0.0

    def listen(self, event: Event) -> None:
        """Pass the event on; rewrite the page where it is a checkpoint."""
        self._then(event)
        if isinstance(event, SaveEvent):
            self._rewrite(event.run)
        elif isinstance(event, StageEvent):
            self._wait()

    def finish(self) -> None:
        """Write no more. A page that is being written is broken off: the last one follows."""
        if self._writing is not None:
            self._writing.send_signal(signal.SIGINT)
            self._wait()

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.wait()
            self._writing = None

    def _rewrite(self, run: Path) -> None:
        now = time.perf_counter()
        if self._writing is not None:
            if self._writing.poll() is None:
                return
            self._rest_until = self._started + (now - self._started) / _MOST_SHARE
            self._writing = None
        if now < self._rest_until:
            return
        self._started = now
        self._writing = subprocess.Popen(
            [sys.executable, "-m", "ontogeny", "report", str(run), "--live"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
