"""Many runs of one recipe: every combination of some settings, each with several seeds."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from ontogeny.analyses._factorial import LEAST, analyze
from ontogeny.core.errors import OntogenyError, RunFailedError
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe
from ontogeny.store import durable
from ontogeny.store.run import open_run
from ontogeny.train.execute import execute, run_path
from ontogeny.train.parents import origin_of
from ontogeny.verbs.report import report

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep."""

    levels: dict[str, str]
    """Value of each setting that is varied."""
    seed: int
    recipe: Recipe
    overrides: tuple[str, ...]
    run: Path


def points_of(recipe: str, overrides: Sequence[str], vary: Sequence[str], seeds: int, runs_dir: Path) -> list[Point]:
    """All combinations, seed by seed. Raises OntogenyError for a `vary` that is not KEY=VALUE,VALUE."""
    factors: dict[str, list[str]] = {}
    for one in vary:
        key, equals, values = one.partition("=")
        if not equals or not key or not all(values.split(",")):
            raise OntogenyError(f"--vary {one}: write KEY=VALUE,VALUE, for instance  train.lr=0.001,0.003")
        if key == "train.seed" or key in factors:
            raise OntogenyError(f"--vary {key}: " + ("say --seeds N" if key == "train.seed" else "it is varied twice"))
        factors[key] = values.split(",")
    found = []
    for seed in range(seeds):
        for cell in product(*factors.values()):
            levels = dict(zip(factors, cell, strict=True))
            own = (*overrides, *(f"{key}={value}" for key, value in levels.items()), f"train.seed={seed}")
            loaded = load_recipe(recipe, own)
            found.append(Point(levels=levels, seed=seed, recipe=loaded, overrides=own, run=run_path(loaded, runs_dir)))
    if len({point.run for point in found}) < len(found):
        raise OntogenyError("two points of the sweep are the same run: a value stands there twice, or changes nothing")
    return found


def sweep(recipe: str, points: Sequence[Point], *, runs_dir: Path, jobs: int | None, tell: Tell) -> Path:
    """Run every point that is not finished, each in a process of its own; write one page; return the sweep's folder.

    A point that was begun continues; one that fails is told, and the others go on. Raises RunFailedError at the end if
    any failed.
    """
    _train_parents(points, runs_dir, tell)
    cores = os.cpu_count() or 1
    jobs = max(min(jobs or cores, len(points)), 1)
    done = 0

    def one(point: Point) -> str | None:
        nonlocal done
        error = _run(recipe, point, runs_dir, max(cores // jobs, 1))
        done += 1
        tell(f"{done}/{len(points)}  {_words(point)}" + (f"  failed: {error}" if error else f"  {point.run.name}"))
        return error

    with ThreadPoolExecutor(jobs) as pool:
        errors = list(pool.map(one, points))
    finished = [point for point, error in zip(points, errors, strict=True) if error is None]
    folder = runs_dir / f"{points[0].recipe.name}-sweep-{_digest(points)}"
    durable.make_folder(folder)
    _write(folder, points, errors, finished)
    if finished:
        report([point.run for point in finished], to=folder / "report.html")
    failed = [error for error in errors if error is not None]
    if failed:
        raise RunFailedError(f"{len(failed)} of {len(points)} runs failed, the first with: {failed[0]}")
    return folder


def _train_parents(points: Sequence[Point], runs_dir: Path, tell: Tell) -> None:
    """Models that points start from, one after the other, so that no two processes train the same one."""

    def train(parent: Recipe) -> Path:
        tell(f"training {parent.name} first")
        return execute(parent, runs_dir=runs_dir)

    for point in points:
        origin_of(point.recipe, runs_dir, train)


def _run(recipe: str, point: Point, runs_dir: Path, threads: int) -> str | None:
    """One run in a process of its own; the error's line, or None."""
    command = [sys.executable, "-m", "ontogeny", "run", recipe, *point.overrides, "--runs", str(runs_dir), "--quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ended.returncode == 0:
        return None
    return (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[0].removeprefix("ontogeny: ")


def _words(point: Point) -> str:
    return "  ".join([*(f"{key}={value}" for key, value in point.levels.items()), f"seed {point.seed}"])


def _digest(points: Sequence[Point]) -> str:
    return hashlib.sha256("".join(point.run.name for point in points).encode()).hexdigest()[:8]


def _write(folder: Path, points: Sequence[Point], errors: Sequence[str | None], finished: Sequence[Point]) -> None:
    listed = [
        {"levels": point.levels, "seed": point.seed, "run": point.run.name, "error": error}
        for point, error in zip(points, errors, strict=True)
    ]
    durable.write_json(folder / "sweep.json", {"points": listed})
    table = results(finished)
    durable.write_bytes(folder / "results.csv", table.to_csv(index=False).encode())
    durable.write_bytes(folder / "effects.txt", effects_text(finished, table).encode())


def results(points: Sequence[Point]) -> pd.DataFrame:
    """One row per run: levels, seed, and every probe set's loss at the last checkpoint."""
    rows = []
    for point in points:
        metrics = open_run(point.run).metrics
        losses = metrics[metrics["name"].astype(str) == "evaluation/nll"].sort_values("step", kind="stable")
        last = losses.groupby("scope", observed=True)["value"].last()
        rows.append({**point.levels, "seed": point.seed, "run": point.run.name,
                     **{f"nll {scope}": value for scope, value in last.items()}})  # fmt: skip
    return pd.DataFrame(rows)


def effects_text(points: Sequence[Point], table: pd.DataFrame) -> str:
    """Main effects and interaction on every probe set's final loss, in words."""
    lines = []
    for column in (one for one in table.columns if str(one).startswith("nll ")):
        found = analyze([point.levels for point in points], table[column].tolist())
        lines.append(f"Loss on {column[4:]} at the end, nats per token:")
        if found is None:
            lines += ["  effects: not assessable: lacks a complete design with two seeds or more", ""]
            continue
        for one in found.effects:
            lines.append(
                f"  {one.factor}: {one.level} against {one.against}: {one.value:+.4f} (95% {one.low:+.4f} to "
                f"{one.high:+.4f}), p = {one.p:.4f} corrected over {len(found.effects)}, n = {found.seeds} seeds in "
                f"each of {found.cells} cells"
            )
        if found.interaction_p == found.interaction_p:
            lines.append(f"  interaction: F = {found.interaction_f:.2f}, p = {found.interaction_p:.4f}")
        if not found.claims:
            lines.append(f"  fewer than {LEAST} seeds: no claim")
        lines.append("")
    return "\n".join(lines) or "no probe set was evaluated\n"


def described(folder: Path) -> dict[str, Any]:
    """What the command line prints of a sweep."""
    listed = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["points"]
    effects = (folder / "effects.txt").read_text(encoding="utf-8").rstrip().splitlines()
    return {"runs": len(listed), "effects": effects, "table": str(folder / "results.csv"),
            "page": str(folder / "report.html")}  # fmt: skip
