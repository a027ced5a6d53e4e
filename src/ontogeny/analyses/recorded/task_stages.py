"""A sequence of tasks in one training: which probe set belongs to each, and where its stage ends."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ontogeny.analyses.recorded.items import Items, losses_of
from ontogeny.core.errors import StoreError


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """T tasks, one after the other, looked at before and after each."""

    names: tuple[str, ...]
    """What each was trained on: corpus/split."""
    probes: tuple[Items, ...]
    """The loss of each task's held-out text at T + 1 checkpoints: before training, and after each stage."""


def tasks_in(run: Any, probes: tuple[str, ...] | None, stages: tuple[int, ...] | None) -> Tasks:
    """Read them. `probes`: a set for each task; `stages`: the state at which each stage ends.

    By default the first probe set of a task's corpus, held out if there is one, and where its passages end. Raises
    StoreError naming what the run lacks.
    """
    takes = (run.recipe.get("data") or {}).get("train") or ()
    if len(takes) < 2:
        raise StoreError(f"{run.path} is no sequence of tasks: it needs two entries or more in data.train")
    ends = stages or _ends(run, takes)
    losses = {one.probe: one for one in losses_of(run)}
    chosen = probes or tuple(_probe_of(run, take["of"], losses) for take in takes)
    if len(chosen) != len(takes) or len(ends) != len(takes):
        raise StoreError(f"{run.path} has {len(takes)} tasks: name as many probe sets in probes, and steps in stages")
    if len(set(chosen)) < len(chosen):
        shared = max(chosen, key=chosen.count)
        raise StoreError(f"{run.path}: two tasks share the probe set {shared}: name one for each in probes")
    for name in chosen:
        if name not in losses:
            raise StoreError(f"{run.path}: nothing was recorded of the probe set '{name}': add token_nll to measures")
    return Tasks(
        names=tuple(str(take["of"]) for take in takes),
        probes=tuple(_at(losses[name], (0, *ends), run) for name in chosen),
    )


def _ends(run: Any, takes: Any) -> tuple[int, ...]:
    """The states at which the passages of each task have been trained on, in a sequential epoch."""
    train = run.recipe.get("train") or {}
    if train.get("order", {}).get("kind") != "sequential" or train.get("epochs") != 1:
        raise StoreError(f"{run.path}: tasks come one after the other with train.order: sequential and train.epochs: 1")
    data = run.provenance["data"]
    counts = [_count(data, take) for take in takes]
    replayed = sum(one["passages"] for one in data.get("replay", {}).values())
    if None in counts or sum(map(int, counts)) != data["train"]["passages"] - replayed:
        raise StoreError(f"{run.path}: it is not recorded how many passages each task has: say stages: [STEP, …]")
    steps = int(run.status.get("total_steps") or run.status["step"])
    shares = np.cumsum(counts) / sum(map(int, counts))
    return tuple(int(np.ceil(round(share * steps, 6))) for share in shares)


def _count(data: dict[str, Any], take: dict[str, Any]) -> Any:
    """Passages of one entry of data.train; None if that cannot be told."""
    corpus, _, split = str(take["of"]).partition("/")
    there = data["corpora"].get(corpus, {}).get("splits", {}).get(split, {}).get("passages")
    if take.get("count") is not None or there is None:
        return take.get("count")
    return min(there, take["at_most"]) if take.get("at_most") is not None else there


def _probe_of(run: Any, of: str, losses: dict[str, Items]) -> str:
    """The probe set of a task's corpus: held out, if there is one."""
    of_sets = {name: str(take.get("of")) for name, take in run.recipe["data"].get("probes", {}).items()}
    corpus = of.partition("/")[0]
    mine = [name for name, its in of_sets.items() if name in losses and its.partition("/")[0] == corpus]
    held_out = [name for name in mine if losses[name].role == "held out"]
    if not mine:
        raise StoreError(
            f"{run.path}: no probe set of {corpus} was looked at: add {corpus}: {{of: {corpus}/SPLIT}} to data.probes, "
            "and token_nll to measures"
        )
    return (held_out or mine)[0]


def _at(items: Items, states: tuple[int, ...], run: Any) -> Items:
    """The checkpoints nearest to these states, at most a step away."""
    rows = [int(np.abs(items.step - state).argmin()) for state in states]
    for row, state in zip(rows, states, strict=True):
        if abs(int(items.step[row]) - state) > 1:
            steps = ", ".join(map(str, states))
            raise StoreError(
                f"{run.path} has no checkpoint at step {state}, where a task ends: it needs those at {steps}"
            )
    return Items(**{**vars(items), "step": items.step[rows], "total": items.total[rows]})
