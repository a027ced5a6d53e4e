"""Many runs of one recipe: every combination of some settings, each with several seeds."""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ontogeny.analyses.across import scaling
from ontogeny.analyses.recorded.loss_curves import new_text, outcomes, results
from ontogeny.core.errors import OntogenyError, RunFailedError, StoreError
from ontogeny.core.overrides import BASE
from ontogeny.core.recipe import Recipe
from ontogeny.core.recipe_file import load_recipe
from ontogeny.report.page import write_report
from ontogeny.runs.execute import execute, is_finished, run_path
from ontogeny.runs.parents import find_finished_run
from ontogeny.store import durable
from ontogeny.store.lock import RunLock
from ontogeny.store.run import open_run
from ontogeny.store.schema import LOCK, PROVENANCE
from ontogeny.verbs import sweep_results
from ontogeny.verbs.report import diagnose_and_analyze
from ontogeny.verbs.sweep_prediction import predict_held_out
from ontogeny.verbs.sweep_processes import Command, SweepInterruptedError, Tell, ended_by_signals, processes, run_all

_SEEDS = {"train.seed": "--seeds N", f"{BASE}.train.seed": "--base-seeds"}
"""Keys that are not varied, and what is said instead."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a sweep."""

    levels: dict[str, str]
    """Value of each setting that is varied."""
    seed: int
    recipe: Recipe
    overrides: tuple[str, ...]
    run: Path


def points_of(
    recipe: str, overrides: Sequence[str], vary: Sequence[str], seeds: int, runs_dir: Path, base_seeds: bool = False
) -> list[Point]:
    """All combinations, seed by seed. Raises OntogenyError for a `vary` that is not KEY=VALUE,VALUE.

    `base_seeds`: the run that a model starts from is trained with the same seed, so that seeds are of base models, too.
    """
    factors: dict[str, list[str]] = {}
    for one in vary:
        key, equals, text = one.partition("=")
        values = split_values(text)
        if not equals or not key or not all(values):
            raise OntogenyError(f"--vary {one}: write KEY=VALUE,VALUE, for instance  train.lr=0.001,0.003")
        if key in _SEEDS or key in factors:
            raise OntogenyError(f"--vary {key}: " + (f"say {_SEEDS[key]}" if key in _SEEDS else "it is varied twice"))
        factors[key] = values
    found = []
    for seed in range(seeds):
        of_seed = [f"train.seed={seed}", *([f"{BASE}.train.seed={seed}"] if base_seeds else [])]
        for cell in product(*factors.values()):
            levels = dict(zip(factors, cell, strict=True))
            own = (*overrides, *(f"{key}={value}" for key, value in levels.items()), *of_seed)
            loaded = load_recipe(recipe, own)
            found.append(Point(levels=levels, seed=seed, recipe=loaded, overrides=own, run=run_path(loaded, runs_dir)))
    _require_different(found)
    return found


def _require_different(points: Sequence[Point]) -> None:
    seen: dict[Path, Point] = {}
    for point in points:
        other = seen.setdefault(point.run, point)
        if other is not point:
            raise OntogenyError(
                f"two points of the sweep are the same run, ({_words(other)}) and ({_words(point)}): leave one out; a "
                "value stands there twice, or changes nothing"
            )


def split_values(text: str) -> list[str]:
    """Values between commas; commas inside brackets, braces and quotes part nothing: ``[],[{kind: x, a: 1}]`` is two.

    Raises OntogenyError for a bracket or quote that is not closed.
    """
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
            if character == "," and depth == 0:
                values.append("")
                continue
        values[-1] += character
    if depth or quote:
        raise OntogenyError(f"--vary: a bracket or quote is not closed in  {text}")
    return [value.strip() for value in values]


def levels_of(text: str | None) -> list[float]:
    """Losses between commas, highest first. Raises OntogenyError for what is none."""
    if text is None:
        return []
    try:
        found = sorted({float(one) for one in text.split(",")}, reverse=True)
    except ValueError:
        found = [math.nan]
    if not all(math.isfinite(one) and one > 0 for one in found):
        raise OntogenyError(f"--levels {text}: write losses of new text in nats, for instance  --levels 4.9,4.8,4.7")
    return found


def sweep(
    recipe: str,
    points: Sequence[Point],
    *,
    runs_dir: Path,
    jobs: int | None,
    tell: Tell,
    hold_out: str | None = None,
    levels: Sequence[float] = (),
) -> Path:
    """Run every point that is not finished, in processes beside this one; write one page; return the sweep's folder.

    Models that points start from are trained before, each once. A point that was begun continues; one that fails is
    told, and the others go on; one that another process writes is waited for. Raises RunFailedError at the end if any
    failed, SweepInterruptedError if it is stopped, StoreError if another process sweeps in the same folder.

    `hold_out`: KEY=VALUE of a size, length or share that is varied. Its runs come last; before them, what the others'
    power laws say of it is written to prediction.json. `levels`: losses of new text at which runs are compared.
    """
    held = _held_out(points, hold_out)
    folder = runs_dir / f"{points[0].recipe.name}-sweep-{_digest(points)}"
    durable.make_folder(folder)
    last = [point for point in points if held and point.levels[held[0]] == held[1]]
    points = [*(point for point in points if point not in last), *last]
    errors: dict[str, str | None] = {}
    lock = RunLock(folder / LOCK)
    try:
        with ended_by_signals():
            _look_again(points, runs_dir, tell, errors)
            left = [point for point in points if point.run.name not in errors]
            parents = _parents(left, runs_dir)
            first, then = (
                [_command(recipe, point, parents) for point in left if (point in last) == held_out]
                for held_out in (False, True)
            )
            run_all([*parents.values(), *first], runs_dir, jobs, tell, errors)
            known = [point for point in points if point not in last and errors[point.run.name] is None]
            if held and known and all(errors.get(command.after or "") is None for command in then):
                _foretell(folder, held, known, last, runs_dir)
            run_all(then, runs_dir, jobs, tell, errors)
            _write(folder, points, errors, levels)
    except OntogenyError:
        _list(folder, points, errors)
        raise
    except KeyboardInterrupt:
        _list(folder, points, errors)
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


def _look_again(points: Sequence[Point], runs_dir: Path, tell: Tell, into: dict[str, str | None]) -> None:
    """Of runs that are finished: are their texts the same still? Here, where all of it is loaded once."""
    for point in points:
        try:
            if (point.run / PROVENANCE).exists() and is_finished(open_run(point.run)):
                execute(point.recipe, runs_dir=runs_dir)
                into[point.run.name] = None
        except OntogenyError as error:
            into[point.run.name] = str(error)
    if into:
        tell(f"{len(into)} of {len(points)} runs were there before")


def _command(recipe: str, point: Point, parents: Mapping[str, Command]) -> Command:
    ancestors = _ancestors(point.recipe)
    parent = ancestors[-1][2].train_hash if ancestors else None
    return Command(
        key=point.run.name,
        words=_words(point),
        name=point.run.name,
        arguments=[recipe, *point.overrides],
        after=parent if parent in parents else None,
    )


def _list(folder: Path, points: Sequence[Point], errors: Mapping[str, str | None]) -> None:
    listed = [
        {
            "levels": point.levels,
            "seed": point.seed,
            "run": point.run.name,
            "error": errors.get(point.run.name, "not finished"),
        }
        for point in points
    ]
    durable.write_json(folder / "sweep.json", {"points": listed})


def _write(folder: Path, points: Sequence[Point], errors: Mapping[str, str | None], levels: Sequence[float]) -> None:
    """What came out, of the points that finished."""
    _list(folder, points, errors)
    finished = [point for point in points if errors[point.run.name] is None]
    if finished:
        paths = [point.run for point in finished]
        diagnose_and_analyze(paths)
        sweep_results.write(folder, _rows(finished), levels)
        write_report([open_run(path) for path in paths], out=folder / "report.html")


def plan(points: Sequence[Point], runs_dir: Path, jobs: int | None) -> dict[str, Any]:
    """What would be run, and what that would cost, if all cost what the first of them does; runs nothing."""
    from ontogeny.verbs.plan import costs, duration, size

    def state(point: Point) -> str:
        try:
            there = (point.run / PROVENANCE).exists()
            return str(open_run(point.run).status.get("state", "begun")) if there else "to run"
        except StoreError:
            return "damaged"

    states = [state(point) for point in points]
    left = [point for point, now in zip(points, states, strict=True) if now != "finished"]
    ancestors = {one.train_hash for point in left for *_, one in _ancestors(point.recipe)}
    missing = sum(find_finished_run(runs_dir, one) is None for one in ancestors)
    found: dict[str, Any] = {"runs": len(points), "finished already": len(points) - len(left)}
    begun = sum(now not in ("finished", "to run") for now in states)
    found |= {"to run": len(left), **({"of these begun": begun} if begun else {})}
    found |= {"trained first": f"{missing} models"} if missing else {}
    if not left:
        return found
    at_a_time = processes(jobs, len(left))
    one, seconds, count = costs(left[0].recipe, runs_dir, threads=max((os.cpu_count() or 1) // at_a_time, 1))
    found |= {"processes": at_a_time, "one run": f"{_words(left[0])}: {one['steps']} steps, {one['time']}"}
    rounds = -(-len(left) // at_a_time)
    found["time"] = f"{duration(seconds * rounds)} ({rounds} one after the other, if all take as long)"
    found["disk"] = f"{size(count * len(left))} (if all take as much)"
    return found


def _held_out(points: Sequence[Point], hold_out: str | None) -> tuple[str, str] | None:
    """Key and level. Raises OntogenyError for what is not varied."""
    if hold_out is None:
        return None
    key, _, level = hold_out.partition("=")
    if not any(point.levels.get(key) == level for point in points):
        varied = "  ".join(f"{key}={level}" for key, level in points[0].levels.items())
        raise OntogenyError(f"--hold-out {hold_out}: no run has that; write one of the levels, such as {varied}")
    if not scaling.may_be_size(key):
        raise OntogenyError(f"--hold-out {key}: it is neither a size, a length nor a share, so no law is of it")
    lack = scaling.why_no_law(key, level, {point.levels[key] for point in points} - {level})
    if lack:
        raise OntogenyError(f"--hold-out {hold_out}: {lack}")
    if not scaling.is_number(key) and not all(_ancestors(point.recipe) for point in points):
        raise OntogenyError(
            f"--hold-out {key}: how large that is, is not known before it is run; hold out a length, a share, or a "
            "size of the model that runs start from (base.model.size)"
        )
    return key, level


def _foretell(
    folder: Path, held: tuple[str, str], known: Sequence[Point], last: Sequence[Point], runs_dir: Path
) -> None:
    """Predict the runs to come from those that are there."""
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
    """What a level is a number of, before it is run: itself, or the parameters of the model that it starts from."""
    if scaling.is_number(held[0]):
        return float(held[1])
    found = find_finished_run(runs_dir, _ancestors(point.recipe)[-1][2].train_hash)
    if found is None:
        raise OntogenyError(f"--hold-out {held[0]}: the model that its runs start from is gone: run the sweep again")
    return float(open_run(found).provenance["model"]["parameters"])


def _rows(points: Sequence[Point]) -> list[sweep_results.Row]:
    return [(point.levels, point.run) for point in points]


def _parents(points: Sequence[Point], runs_dir: Path) -> dict[str, Command]:
    """Models that points start from and that are not there yet, by their hash, each once, after its own."""
    found: dict[str, Command] = {}
    for point in points:
        before = None
        for name, overrides, parent in _ancestors(point.recipe):
            key = parent.train_hash
            if key not in found and find_finished_run(runs_dir, key) is None:
                found[key] = Command(
                    key=key,
                    words=f"{name} first  {' '.join(overrides)}".rstrip(),
                    name=parent.name,
                    arguments=[name, *overrides],
                    after=before,
                )
            before = key if key in found else None
    return found


def _ancestors(recipe: Recipe) -> list[tuple[str, tuple[str, ...], Recipe]]:
    """Recipes that the model comes from, oldest first, with their overrides."""
    found: list[tuple[str, tuple[str, ...], Recipe]] = []

    def resolve(source: Any) -> Any:
        if source.recipe is not None:
            parent = load_recipe(source.recipe, source.overrides)
            found.extend([*_ancestors(parent), (source.recipe, source.overrides, parent)])

    recipe.model.origin(resolve)
    return found


def _words(point: Point) -> str:
    return "  ".join([*(f"{key}={value}" for key, value in point.levels.items()), f"seed {point.seed}"])


def _digest(points: Sequence[Point]) -> str:
    return hashlib.sha256("".join(point.run.name for point in points).encode()).hexdigest()[:8]


def described(folder: Path) -> dict[str, Any]:
    """What the command line prints of a sweep."""
    points = durable.read_json(folder / "sweep.json")["points"]
    texts = sweep_results.text_files(folder)
    return {"runs": len(points), **texts, "table": str(folder / "results.csv"), "page": str(folder / "report.html")}
