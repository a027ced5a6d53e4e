"""Estimate time, disk and memory of a run before it starts, from a short trial in a temporary directory."""

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
        plan = estimate(recipe, runs_dir=runs_dir, scratch=Path(folder))
    plan.pop(RAW, None)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan["memory"] = f"{peak_kib / 2**20:.1f} GiB at most while planning"
    plan["planned in"] = f"{time.perf_counter() - started:.0f} s"
    return plan


def costs(recipe: Recipe, runs_dir: Path, threads: int) -> tuple[dict[str, Any], float, float]:
    """The estimate for a run on `threads` threads, its seconds and its bytes; both are 0 for a run without training."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory(prefix="ontogeny-plan-") as folder:
            plan = estimate(recipe, runs_dir=runs_dir, scratch=Path(folder))
    finally:
        torch.set_num_threads(before)
    seconds, count = plan.pop(RAW, (0.0, 0.0))
    return plan, seconds, count
