"""A sequence of tasks in one training: which probe set belongs to each, and where its stage ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ontogeny.analyses.recorded.items import Items, losses_of
from ontogeny.core.analyses import RecordedRun
from ontogeny.core.errors import StoreError

Take = Mapping[str, Any]
"""An entry of data.train in a recipe, as plain values."""


@dataclass(frozen=True, kw_only=True)
class Tasks:
    """T tasks, one after the other, evaluated before the first and after each."""

    names: tuple[str, ...]
    """What each was trained on: corpus/split."""
    probes: tuple[Items, ...]
    """The loss of each task's held-out text at T + 1 checkpoints: before training, and after each stage."""


def tasks_in(run: RecordedRun, probes: tuple[str, ...] | None, stages: tuple[int, ...] | None) -> Tasks:
    """Read them. `probes`: a set for each task; `stages`: the state at which each stage ends.

    By default the first probe set of a task's corpus, held out if there is one, and where its passages end. Raises
    StoreError naming what the run lacks.
    """
    takes = (run.recipe.get("data") or {}).get("train") or ()
    if len(takes) < 2:
        raise StoreError(f"{run.path} is no sequence of tasks: it needs two entries or more in data.train")
    ends = stages or _ends(run, takes)
    losses = {items.probe: items for items in losses_of(run)}
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


def _ends(run: RecordedRun, takes: Sequence[Take]) -> tuple[int, ...]:
    """The states at which the passages of each task have been trained on, in a sequential epoch."""
    train = run.recipe.get("train") or {}
    if train.get("order", {}).get("kind") != "sequential" or train.get("epochs") != 1:
        raise StoreError(f"{run.path}: tasks come one after the other with train.order: sequential and train.epochs: 1")
    data = run.provenance["data"]
    counts = [_count(data, take) for take in takes]
    replayed = sum(source["passages"] for source in data.get("replay", {}).values())
    known = [count for count in counts if count is not None]
    if len(known) < len(counts) or sum(known) != data["train"]["passages"] - replayed:
        raise StoreError(f"{run.path}: it is not recorded how many passages each task has: say stages: [STEP, …]")
    steps = int(run.status.get("total_steps") or run.status["step"])
    shares = np.cumsum(known) / sum(known)
    return tuple(int(np.ceil(round(share * steps, 6))) for share in shares)


def _count(data: Mapping[str, Any], take: Take) -> int | None:
    """Passages of one entry of data.train; None if it is not recorded."""
    corpus, _, split = str(take["of"]).partition("/")
    in_split: int | None = data["corpora"].get(corpus, {}).get("splits", {}).get(split, {}).get("passages")
    if take.get("count") is not None or in_split is None:
        return take.get("count")
    return min(in_split, take["at_most"]) if take.get("at_most") is not None else in_split


def _probe_of(run: RecordedRun, of: str, losses: dict[str, Items]) -> str:
    """The probe set of a task's corpus: held out, if there is one."""
    splits = {name: str(take.get("of")) for name, take in run.recipe["data"].get("probes", {}).items()}
    corpus = of.partition("/")[0]
    of_corpus = [name for name, split in splits.items() if name in losses and split.partition("/")[0] == corpus]
    held_out = [name for name in of_corpus if losses[name].role == "held out"]
    if not of_corpus:
        raise StoreError(
            f"{run.path}: no probe set of {corpus} was looked at: add {corpus}: {{of: {corpus}/SPLIT}} to data.probes, "
            "and token_nll to measures"
        )
    return (held_out or of_corpus)[0]


def _at(items: Items, states: tuple[int, ...], run: RecordedRun) -> Items:
    """The checkpoints nearest to these states, at most a step away."""
    rows = [int(np.abs(items.step - state).argmin()) for state in states]
    for row, state in zip(rows, states, strict=True):
        if abs(int(items.step[row]) - state) > 1:
            steps = ", ".join(map(str, states))
            raise StoreError(
                f"{run.path} has no checkpoint at step {state}, where a task ends: it needs those at {steps}"
            )
    return replace(items, step=items.step[rows], total=items.total[rows])
