"""What a run will cost, estimated from a few of its steps."""

import math
import time
from pathlib import Path
from statistics import median
from typing import Any

from ontogeny.core.passages import ProbeSet, document_of
from ontogeny.core.recipe import Recipe
from ontogeny.core.takes import Take
from ontogeny.core.weightings import Weighting
from ontogeny.data.batch_plans import describe_parts, planned_epochs
from ontogeny.runs import cached_targets
from ontogeny.runs.trial import trial, trial_materials
from ontogeny.train.loop import training_steps
from ontogeny.train.session import Session
from ontogeny.train.training import Training

_PROBED_STEPS = 5
RAW = "raw"
"""Key of (seconds, bytes) of the run by itself."""


def estimate(recipe: Recipe, *, runs_dir: Path, scratch: Path) -> dict[str, Any]:
    """Seconds, bytes and counts of a run, measured on a few steps, one look and one checkpoint in `scratch`.

    Parent runs that are missing, of the model or of companions, are estimated too.
    """
    materials, parents = trial_materials(recipe, runs_dir)
    plan: dict[str, Any] = {}
    firsts = [estimate(parent, runs_dir=runs_dir, scratch=scratch / f"parent-{i}") for i, parent in enumerate(parents)]
    if parents:
        plan["trained first"] = "; ".join(
            f"{parent.name}: {first['steps']} steps, {first['time']}, {first['disk']}"
            for parent, first in zip(parents, firsts, strict=True)
        )
    probes = {
        name: _documents(probe, recipe.data.probes.get(name)) for name, probe in materials.prepared.probes.items()
    }
    if probes:
        plan["probes"] = probes
    if materials.companions:
        plan["companions"] = {
            name: f"{companion.described['parameters']:,} parameters, frozen; in the step's time and in memory"
            for name, companion in materials.companions.items()
        }
    if cached := cached_targets.planned(recipe, materials):
        plan["cached targets"] = {
            name: f"{line}: {size(count)}, filled before training if it is not there yet; it lies beside the runs, "
            "which share it, and is not counted in disk; while planning, steps run the companion"
            for name, (line, count) in cached.items()
        }
    if recipe.train is None:
        return {**plan, "steps": 0, "time": "one look", "disk": "the measures' arrays"}
    path = scratch / "run"
    with trial(materials, path) as training:
        started = time.perf_counter()
        training.at_state()
        stop_s = time.perf_counter() - started
        steps_s = _time_steps(training.session)
        decisions_s = training.control_decisions.time(training.context())
        bytes_of = _sizes(path)
    return plan | _summary(training, steps_s, stop_s, decisions_s, bytes_of)


def _documents(probe: ProbeSet, take: Take | None) -> str:
    """Passages and documents of a probe set; intervals count documents."""
    documents = len({document_of(passage.source) for passage in probe.passages})
    text = f"{len(probe)} passages from {documents} {'document' if documents == 1 else 'documents'}"
    chosen = take is not None and (take.count is not None or take.at_most is not None)
    if take is not None and chosen and not take.spread and documents <= len(probe) / 2:
        return f"{text}: with spread: true from as many as there are"
    return text


def _time_steps(session: Any) -> float:
    seconds = []
    for event in training_steps(session):
        seconds.append(event.seconds)
        if len(seconds) > _PROBED_STEPS:
            break
    return median(seconds[1:] or seconds)


def _summary(
    training: Training, step_s: float, stop_s: float, decisions_s: dict[str, float], bytes_of: dict[str, int]
) -> dict[str, Any]:
    session = training.session
    looks = len(set().union(*training.observer.due.values())) if training.observer.due else 0
    stops = max(looks, len(training.save_at))
    counts = {
        type(control).kind: -(-session.total_steps // control.every) for control in training.control_decisions.controls
    }
    deciding_s = sum(counts[kind] * seconds for kind, seconds in decisions_s.items())
    total_s = step_s * session.total_steps + stop_s * stops + deciding_s
    disk = bytes_of["checkpoints"] * len(training.save_at) + bytes_of["trajectory.zarr"] * looks
    parameters = sum(p.numel() for p in session.model.parameters())
    return {
        RAW: (total_s, float(disk)),
        "steps": session.total_steps,
        "epochs": round(planned_epochs(session.plan, session.total_steps), 2),
        **({"tokens": tree} if (tree := describe_parts(session.plan, session.total_steps)) else {}),
        "parameters": parameters,
        "time": f"{duration(total_s)} ({step_s * 1000:.0f} ms a step; "
        f"{stops} stops of {stop_s:.1f} s to look and save)",
        "share of time in looks": f"{stop_s * stops / total_s:.0%}",
        **({"share of time in controls": f"{deciding_s / total_s:.0%}"} if counts else {}),
        "disk": f"{size(disk)} ({len(training.save_at)} checkpoints of {size(bytes_of['checkpoints'])}, "
        f"{looks} looks of {size(bytes_of['trajectory.zarr'])})",
        "costs": {m.group: type(m).cost for m in training.observer.measures}
        | {
            kind: f"{counts[kind]} decisions of {decisions_s[kind]:.2g} s: {type(control).cost}"
            for kind, control in zip(counts, training.control_decisions.controls, strict=True)
        }
        | {weighting.kind: f"in the step's time: {weighting.cost}" for weighting in _costly(session)},
    }


def _costly(session: Session) -> list[Weighting]:
    """The weighting of the objective, if it costs anything."""
    weighting = session.objective.weighting
    return [weighting] if weighting.cost else []


def _sizes(path: Path) -> dict[str, int]:
    return {
        name: sum(f.stat().st_size for f in (path / name).rglob("*") if f.is_file())
        for name in ("checkpoints", "trajectory.zarr")
    }


def duration(seconds: float) -> str:
    """In words."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
