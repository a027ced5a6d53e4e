"""Say time, disk and memory before a run starts, by doing a little of it in a directory that is thrown away."""

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from ontogeny.core.recipe import Recipe
from ontogeny.runs.estimate import RAW, duration, estimate, size

__all__ = ["costs", "duration", "plan_run", "size"]


def plan_run(recipe: Recipe, runs_dir: Path) -> dict[str, Any]:
    """Time, disk and memory of a run, from a few real steps, one real look and one real checkpoint."""
    with tempfile.TemporaryDirectory(prefix="ontogeny-plan-") as folder:
        started = time.perf_counter()
        found = estimate(recipe, runs_dir=runs_dir, scratch=Path(folder))
    found.pop(RAW, None)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found["memory"] = f"{peak_kib / 2**20:.1f} GiB at most while planning"
    found["planned in"] = f"{time.perf_counter() - started:.0f} s"
    return found


def costs(recipe: Recipe, runs_dir: Path, threads: int) -> tuple[dict[str, Any], float, float]:
    """The same of a run on so many threads, with its seconds and bytes as numbers (0 for one that only looks)."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="ontogeny-plan-") as folder:
            found = estimate(recipe, runs_dir=runs_dir, scratch=Path(folder))
    finally:
        torch.set_num_threads(before)
    seconds, count = found.pop(RAW, (0.0, 0.0))
    return found, seconds, count
