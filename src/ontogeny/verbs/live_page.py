"""Keep a run's page up to date while it trains, in a separate process of low priority."""

import os
import subprocess
import sys
import time
from pathlib import Path

from ontogeny.train.training import Event, Listener, SaveEvent, StageEvent

_MOST_SHARE = 0.1
"""Largest share of the time that is spent on writing pages."""


class LivePage:
    """A listener that has the page rewritten after a checkpoint.

    Checkpoints are skipped if pages would otherwise take more than a tenth of the time. The final page is not written
    here but by the caller that runs the training.
    """

    def __init__(self, then: Listener) -> None:
        self._then = then
        self._writing: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._rest_until = 0.0

    def listen(self, event: Event) -> None:
        """Pass the event on; rewrite the page after a checkpoint."""
        self._then(event)
        if isinstance(event, SaveEvent):
            self._rewrite(event.run)
        elif isinstance(event, StageEvent):
            self._wait()

    def finish(self) -> None:
        """Stop. A page that is being written is abandoned: the final page follows."""
        if self._writing is not None:
            self._writing.terminate()  # not SIGINT, to which processes in the background are deaf
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
