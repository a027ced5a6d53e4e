"""Keep a run's page fresh while it trains, in a process of its own that never holds training up."""

import subprocess
import sys
from pathlib import Path

from ontogeny.train.execute import Event, Listener, Saved, Stage


class LivePage:
    """A listener that has the page rewritten after every checkpoint; one still being written is let finish first."""

    def __init__(self, then: Listener) -> None:
        self._then = then
        self._writing: subprocess.Popen[bytes] | None = None

    def listen(self, event: Event) -> None:
        """Pass the event on; rewrite the page where it is a checkpoint."""
        self._then(event)
        if isinstance(event, Saved):
            self._rewrite(event.run)
        elif isinstance(event, Stage):
            self.finish()

    def finish(self) -> None:
        """Wait for the page that is being written."""
        if self._writing is not None:
            self._writing.wait()
            self._writing = None

    def _rewrite(self, run: Path) -> None:
        if self._writing is not None and self._writing.poll() is None:
            return
        self._writing = subprocess.Popen(
            [sys.executable, "-m", "ontogeny", "report", str(run), "--live"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
