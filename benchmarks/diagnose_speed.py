"""Duration of a diagnosis: a JSON Lines log of 1,000 entries from the shell, and of 100,000 entries after imports.

The first is `ontogeny diagnose` in a fresh process, including the start of Python. The second is reading and examining
in a process that has imported its modules, compared with `json.loads` of every line alone, the least that any reader of
the format must do. Peak memory is that of the process.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ratios import asked, ratio_with_interval

REPEATS = 5


def write_log(path: Path, entries: int) -> None:
    """A healthy run: loss, gradient norm, learning rate and epoch, full precision; an evaluation every 100 entries."""
    generator = np.random.default_rng(0)
    steps = np.arange(1, entries + 1)
    loss = 2 + 2 * (steps / 50 + 1) ** -0.5 + generator.normal(0, 0.05, entries)
    with path.open("w", encoding="utf-8") as file:
        for step, value in zip(steps.tolist(), loss.tolist(), strict=True):
            entry = {
                "step": step,
                "loss": value,
                "grad_norm": 1.0 + value / 10,
                "learning_rate": 1e-4 * step / entries,
                "epoch": step / entries,
            }
            file.write(json.dumps(entry) + "\n")
            if step % 100 == 0:
                file.write(json.dumps({"step": step, "eval_loss": 2 + 2 * (step / 50 + 1) ** -0.5}) + "\n")


def _seconds(run: Any) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> dict[str, Any]:
    """Both."""
    from ontogeny.diagnosis.examine import examine
    from ontogeny.integrations.importing import read_history

    command = str(Path(sys.executable).parent / "ontogeny")
    with tempfile.TemporaryDirectory() as name:
        small, large = Path(name) / "small.jsonl", Path(name) / "large.jsonl"
        write_log(small, 1000)
        write_log(large, 100_000)
        shell = [
            _seconds(lambda: subprocess.run([command, "diagnose", str(small)], check=True, capture_output=True))
            for _ in range(REPEATS)
        ]
        examine(read_history(small))
        ours, bare = [], []
        for _ in range(REPEATS):
            bare.append(_seconds(lambda: [json.loads(line) for line in large.read_text().splitlines()]))
            ours.append(_seconds(lambda: examine(read_history(large))))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    torch = "torch" in sys.modules
    return {
        "`ontogeny diagnose` of 1,000 entries, start included, seconds": asked(_median(shell), at_most=3),
        "100,000 entries after start, seconds": asked(
            {**_median(ours), "peak_memory_mib": peak, "torch": torch}, at_most=2
        ),
        "100,000 entries, beside parsing their JSON alone": ratio_with_interval(ours, bare),
    }


def _median(seconds: list[float]) -> dict[str, Any]:
    return {"seconds": float(np.median(seconds)), "low": min(seconds), "high": max(seconds), "n": len(seconds)}


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))
