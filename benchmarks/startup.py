"""Start-up time: `ontogeny --help`, and opening a run of 1,000,000 metrics rows, each in fresh processes."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.ratios import asked
from ontogeny.store.writer import RunWriter

_REPEATS = 10
_ROWS = 1_000_000
_OPEN = """
import sys, ontogeny
run = ontogeny.open(sys.argv[1])
assert len(run.metrics) == int(sys.argv[2])
"""


def _seconds(command: Sequence[str]) -> list[float]:
    taken = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - started)
    return taken


def _summary(seconds: Sequence[float]) -> dict[str, float]:
    return {"seconds": statistics.median(seconds), "low": min(seconds), "high": max(seconds), "n": len(seconds)}


def show_help() -> dict[str, float]:
    """Seconds of `ontogeny --help`: median, least and most."""
    return _summary(_seconds([str(Path(sys.executable).with_name("ontogeny")), "--help"]))


def open_large_run() -> dict[str, float]:
    """Seconds to start Python, open a run and read its 1,000,000 metrics rows into a data frame."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        with RunWriter.create(path, recipe_yaml="", recipe={}, provenance={}) as writer:
            for row in range(_ROWS):
                writer.add_metric(row // 4, ("loss", "lr", "grad_norm", "tokens")[row % 4], "train", row / 7)
                if row % 5000 == 0:
                    writer.flush()  # the parts that a run leaves when it flushes every few seconds
        return _summary(_seconds([sys.executable, "-c", _OPEN, str(path), str(_ROWS)]))


def main() -> dict[str, Any]:
    """Both waiting times."""
    return {
        "`ontogeny --help`, seconds": asked(show_help(), at_most=0.5),
        "opening a run of 1,000,000 metrics rows and reading them, seconds": asked(open_large_run(), at_most=2),
    }
