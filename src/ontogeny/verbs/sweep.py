"""Many runs of one recipe: every combination of some settings, each with several seeds."""

import contextlib
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ontogeny.analyses.across import scaling
from ontogeny.analyses.recorded.loss_curves import new_text, outcomes, results
from ontogeny.core.errors import OntogenyError, RunFailedError, StoreError
from ontogeny.core.recipe import Recipe
from ontogeny.report.page import write_report
from ontogeny.runs.execute import execute, is_finished
from ontogeny.runs.parents import ancestors_of, find_finished_run, model_parent, parents_of
from ontogeny.runs.threads import VARIABLE, asked_threads, recorded_threads
from ontogeny.store import durable
from ontogeny.store.lock import RunLock
from ontogeny.store.run import open_run
from ontogeny.store.schema import LOCK, PROVENANCE
from ontogeny.verbs import sweep_results
from ontogeny.verbs.report import diagnose_and_analyze
from ontogeny.verbs.signals import ended_by_signals
from ontogeny.verbs.sweep_points import ARM, Point, words
from ontogeny.verbs.sweep_prediction import predict_held_out
from ontogeny.verbs.sweep_processes import Command, SweepInterruptedError, Tell, processes, run_all

LIST = "sweep.json"
"""The points of a sweep, their runs, errors, and the threads of each run."""


def levels_of(text: str | None) -> list[float]:
    """Losses between commas, highest first. Raises OntogenyError unless all are positive numbers."""
    if text is None:
        return []
    try:
        levels = sorted({float(level) for level in text.split(",")}, reverse=True)
    except ValueError:
        levels = [math.nan]
    if not all(math.isfinite(level) and level > 0 for level in levels):
        raise OntogenyError(f"--levels {text}: write losses of new text in nats, for instance  --levels 4.9,4.8,4.7")
    return levels


def sweep(
    points: Sequence[Point],
    *,
    runs_dir: Path,
    jobs: int | None,
    tell: Tell,
    hold_out: str | None = None,
    levels: Sequence[float] = (),
) -> Path:
    """Run every unfinished point in processes of their own, analyze them, write one page; return the sweep's folder.

    Models that points start from are trained first, each once. A point that was begun continues; one that fails is
    reported, and the others go on; one that another process is writing is waited for. Raises RunFailedError at the end
    if any failed, SweepInterruptedError if it is stopped, StoreError if another process sweeps in the same folder.

    `hold_out`: KEY=VALUE of a size, length or share that is varied. Its runs come last; before them, the prediction of
    the other runs' power laws is written to prediction.json. `levels`: losses of new text at which runs are compared.
    """
    held = _held_out(points, hold_out)
    folder = _folder(points, runs_dir)
    threads = threads_of_a_run(points, folder, jobs, tell)
    durable.make_folder(folder)
    last = [point for point in points if held and point.levels[held[0]] == held[1]]
    points = [*(point for point in points if point not in last), *last]
    errors: dict[str, str | None] = {}
    lock = RunLock(folder / LOCK)
    try:
        with ended_by_signals():
            _check_finished(points, runs_dir, tell, errors)
            _list(folder, points, errors, threads)
            left = [point for point in points if point.run.name not in errors]
            parents = _parents(left, runs_dir)
            first, then = (
                [_command(point, parents) for point in left if (point in last) == held_out]
                for held_out in (False, True)
            )
            run_all([*parents.values(), *first], runs_dir, jobs, threads, tell, errors)
            known = [point for point in points if point not in last and errors[point.run.name] is None]
            if held and known and all(errors.get(key) is None for command in then for key in command.after):
                _predict(folder, held, known, last, runs_dir)
            run_all(then, runs_dir, jobs, threads, tell, errors)
            _write(folder, points, errors, threads, levels)
    except OntogenyError:
        _list(folder, points, errors, threads)
        raise
    except KeyboardInterrupt:
        _list(folder, points, errors, threads)
        done = sum(errors.get(point.run.name, "not finished") is None for point in points)
        raise SweepInterruptedError(
            f"interrupted after {done} of {len(points)} runs; the same command goes on"
        ) from None
    finally:
        lock.release()
    failed = [error for point in points if (error := errors[point.run.name]) is not None]
    if failed:
        raise RunFailedError(f"{len(failed)} of {len(points)} runs failed, the first with: {failed[0]}")
    return folder


def _check_finished(points: Sequence[Point], runs_dir: Path, tell: Tell, into: dict[str, str | None]) -> None:
    """Check that the texts of finished runs have not changed; in this process, so that texts are loaded only once."""
    for point in points:
        try:
            if (point.run / PROVENANCE).exists() and is_finished(open_run(point.run)):
                execute(point.recipe, runs_dir=runs_dir)
                into[point.run.name] = None
        except OntogenyError as error:
            into[point.run.name] = str(error)
    if into:
        tell(f"{len(into)} of {len(points)} runs were there before")


def _command(point: Point, parents: Mapping[str, Command]) -> Command:
    return Command(
        key=point.run.name,
        words=words(point),
        name=point.run.name,
        arguments=[point.source, *point.overrides],
        after=_awaited(point.recipe, parents),
    )


def _awaited(recipe: Recipe, commands: Mapping[str, Command]) -> tuple[str, ...]:
    """Keys of the commands that train what a recipe starts from or reads."""
    return tuple(key for _, parent in parents_of(recipe) if (key := parent.train_hash) in commands)


def threads_of_a_run(points: Sequence[Point], folder: Path, jobs: int | None, tell: Tell) -> int:
    """Threads of every run of the sweep, the same whatever is left to do.

    As many as the sweep, or a run of it, began with; else what OMP_NUM_THREADS asks for; else the cores, divided by the
    runs that go on at a time when all are to do. One line is told if OMP_NUM_THREADS now asks for another number.
    """
    asked = asked_threads()
    begun = _threads_before(points, folder)
    if begun is not None and asked not in (None, begun):
        tell(f"every run goes on with {begun} thread{'s' * (begun > 1)}, as the sweep began; {VARIABLE} is {asked}")
    return begun or asked or max((os.cpu_count() or 1) // processes(jobs, len(points)), 1)


def _threads_before(points: Sequence[Point], folder: Path) -> int | None:
    """Threads that the sweep began with; in one of an earlier version, its first begun run; None if it is new."""
    listed = folder / LIST
    threads = durable.read_object(listed).get("threads") if listed.exists() else None
    if isinstance(threads, int) and threads > 0:
        return threads
    for point in points if folder.exists() else ():
        with contextlib.suppress(StoreError):
            recorded = recorded_threads(open_run(point.run).provenance)
            if recorded is not None:
                return recorded
    return None


def _list(folder: Path, points: Sequence[Point], errors: Mapping[str, str | None], threads: int) -> None:
    listed = [
        {
            "levels": point.levels,
            "seed": point.seed,
            "run": point.run.name,
            "error": errors.get(point.run.name, "not finished"),
        }
        for point in points
    ]
    durable.write_json(folder / LIST, {"threads": threads, "points": listed})


def _write(
    folder: Path, points: Sequence[Point], errors: Mapping[str, str | None], threads: int, levels: Sequence[float]
) -> None:
    """Results of the points that finished."""
    _list(folder, points, errors, threads)
    finished = [point for point in points if errors[point.run.name] is None]
    if finished:
        paths = [point.run for point in finished]
        diagnose_and_analyze(paths)
        sweep_results.write(folder, _rows(finished), levels)
        write_report([open_run(path) for path in paths], out=folder / "report.html")


def plan(points: Sequence[Point], runs_dir: Path, jobs: int | None) -> dict[str, int | str]:
    """What would be run, and its cost if every run costs as much as the first of its recipe; runs nothing."""
    from ontogeny.verbs.plan import costs, duration, size

    def state(point: Point) -> str:
        try:
            begun = (point.run / PROVENANCE).exists()
            return str(open_run(point.run).status.get("state", "begun")) if begun else "to run"
        except StoreError:
            return "damaged"

    states = [state(point) for point in points]
    left = [point for point, now in zip(points, states, strict=True) if now != "finished"]
    ancestors = {parent.train_hash for point in left for _, parent in ancestors_of(point.recipe)}
    missing = sum(find_finished_run(runs_dir, train_hash) is None for train_hash in ancestors)
    planned: dict[str, int | str] = {"runs": len(points), "finished already": len(points) - len(left)}
    begun = sum(now not in ("finished", "to run") for now in states)
    planned |= {"to run": len(left), **({"of these begun": begun} if begun else {})}
    planned |= {"trained first": f"{missing} models"} if missing else {}
    if not left:
        return planned
    at_a_time = processes(jobs, len(left))
    threads = threads_of_a_run(points, _folder(points, runs_dir), jobs, lambda text: None)
    planned |= {"processes": at_a_time, "threads of each": threads}
    by_recipe: dict[str, list[Point]] = {}
    for point in left:
        by_recipe.setdefault(point.levels.get(ARM, ""), []).append(point)
    seconds = size_bytes = 0.0
    for recipe, alike in by_recipe.items():
        cost, of_run_s, of_run_bytes = costs(alike[0].recipe, runs_dir, threads=threads)
        planned[f"one run of {recipe}" if recipe else "one run"] = (
            f"{words(alike[0])}: {cost['steps']} steps, {cost['time']}"
        )
        for name, line in cost.get("cached targets", {}).items():
            planned[f"cached targets of {name}{f', {recipe}' if recipe else ''}"] = line
        seconds, size_bytes = seconds + of_run_s * len(alike), size_bytes + of_run_bytes * len(alike)
    rounds = -(-len(left) // at_a_time)
    each = "all runs of a recipe" if "" not in by_recipe else "all"
    planned["time"] = f"{duration(seconds * rounds / len(left))} ({rounds} one after the other, if {each} take as long)"
    planned["disk"] = f"{size(size_bytes)} (if {each} take as much)"
    return planned


def _held_out(points: Sequence[Point], hold_out: str | None) -> tuple[str, str] | None:
    """Key and level. Raises OntogenyError for a level that is not varied, or that no law can predict."""
    if hold_out is None:
        return None
    key, _, level = hold_out.partition("=")
    if not any(point.levels.get(key) == level for point in points):
        varied = "  ".join(f"{key}={level}" for key, level in points[0].levels.items())
        raise OntogenyError(f"--hold-out {hold_out}: no run has that; write one of the levels, such as {varied}")
    if not scaling.may_be_size(key):
        raise OntogenyError(f"--hold-out {key}: it is neither a size, a length nor a share, so no law can predict it")
    lack = scaling.why_no_law(key, level, {point.levels[key] for point in points} - {level})
    if lack:
        raise OntogenyError(f"--hold-out {hold_out}: {lack}")
    if not scaling.is_number(key) and not all(model_parent(point.recipe) for point in points):
        raise OntogenyError(
            f"--hold-out {key}: its size is not known before it is run; hold out a length, a share, or a "
            "size of the model that runs start from (base.model.size)"
        )
    return key, level


def _predict(
    folder: Path, held: tuple[str, str], known: Sequence[Point], last: Sequence[Point], runs_dir: Path
) -> None:
    """Predict the held-out runs from those that are finished."""
    table = outcomes(sweep_results.group_of(_rows(known)))
    already = any(find_finished_run(runs_dir, point.recipe.train_hash) is not None for point in last)
    seeds = len({point.seed for point in last})
    predict_held_out(
        folder,
        held,
        _size_before(last[0], held, runs_dir),
        seeds,
        results(table),
        list(known[0].levels),
        new_text(table),
        already,
    )


def _size_before(point: Point, held: tuple[str, str], runs_dir: Path) -> float:
    """The number of a level before it is run: its value, or the parameters of the model that its runs start from."""
    if scaling.is_number(held[0]):
        return float(held[1])
    parent_recipe = model_parent(point.recipe)
    parent = find_finished_run(runs_dir, parent_recipe.train_hash) if parent_recipe else None
    if parent is None:
        raise OntogenyError(f"--hold-out {held[0]}: the model that its runs start from is gone: run the sweep again")
    return float(open_run(parent).provenance["model"]["parameters"])


def _rows(points: Sequence[Point]) -> list[sweep_results.Row]:
    return [(point.levels, point.run) for point in points]


def _parents(points: Sequence[Point], runs_dir: Path) -> dict[str, Command]:
    """Models that points start from or read and that are not trained yet: by hash, each after its own parents."""
    commands: dict[str, Command] = {}
    for point in points:
        for source, parent in ancestors_of(point.recipe):
            key = parent.train_hash
            if key not in commands and find_finished_run(runs_dir, key) is None:
                commands[key] = Command(
                    key=key,
                    words=f"{source.recipe} first  {' '.join(source.overrides)}".rstrip(),
                    name=parent.name,
                    arguments=[str(source.recipe), *source.overrides],
                    after=_awaited(parent, commands),
                )
    return commands


def _folder(points: Sequence[Point], runs_dir: Path) -> Path:
    return runs_dir / f"{points[0].sweep}-sweep-{_digest(points)}"


def _digest(points: Sequence[Point]) -> str:
    return hashlib.sha256("".join(point.run.name for point in points).encode()).hexdigest()[:8]


def described(folder: Path) -> dict[str, Any]:
    """The texts of a sweep and where its table and page are, as the command line prints them."""
    points = durable.read_object(folder / LIST)["points"]
    texts = sweep_results.text_files(folder)
    return {"runs": len(points), **texts, "table": str(folder / "results.csv"), "page": str(folder / "report.html")}
