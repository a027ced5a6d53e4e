"""What the arms of a distillation had cost at each state, and their losses there, by document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ontogeny.analyses.recorded.items import Items, loss_by_document, of_kind
from ontogeny.analyses.recorded.loss_curves import require_ended, require_equal_passages
from ontogeny.analyses.recorded.loss_records import of_evaluation
from ontogeny.core.errors import StoreError
from ontogeny.store.parents import parents_folder
from ontogeny.store.run import open_run
from ontogeny.store.run_group import roles

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRun, ComparedRuns, Configuration, RecordedRun

Axis = Literal["steps", "FLOPs", "FLOPs with the teacher's training", "seconds", "seconds with the teacher's training"]
"""What a state may have cost. FLOPs and seconds count the teacher's forward passes in training."""
AXES: tuple[Axis, ...] = get_args(Axis)
WITH_TRAINING: tuple[Axis, ...] = (AXES[2], AXES[4])
"""In which the teacher's own training is counted, too."""
_FORWARD = 1 / 3
"""Share of a forward pass in the FLOPs of one forward and one backward pass: a backward pass has two products of
matrices for each one of the forward pass."""


@dataclass(frozen=True, kw_only=True)
class CostCurve:
    """One run at the C states at which it was evaluated, on D documents."""

    total: np.ndarray
    """float64 [C, D]: NLL summed over the scored tokens of each document, nats."""
    costs: Mapping[Axis, np.ndarray]
    """float64 [C] each, rising."""

    def at(self, axis: Axis, x: float) -> np.ndarray:
        """`total` where the run has cost x, float64 [D]: on straight lines between states; x within its range.

        A loss that falls ever more slowly lies below the line: between states this is too high.
        """
        costs = self.costs[axis]
        after = self._state_after(axis, x)
        low, high = costs[after - 1], costs[after]
        part = (x - low) / (high - low) if high > low else 0.0
        return np.asarray(self.total[after - 1] + part * (self.total[after] - self.total[after - 1]))

    def at_next_state(self, axis: Axis, x: float) -> np.ndarray:
        """`total` at the first state that has cost x or more, float64 [D]: too low for a loss that falls."""
        return np.asarray(self.total[self._state_after(axis, x)])

    def _state_after(self, axis: Axis, x: float) -> int:
        costs = self.costs[axis]
        return min(max(int(np.searchsorted(costs, x)), 1), len(costs) - 1)


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs that differ in nothing but the seed."""

    label: str
    teachers: tuple[str, ...]
    """Fingerprints of the weights of the models that teach it; none of an arm that learns from the text alone."""
    curves: Mapping[int | str, CostCurve]
    """By seed."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A model that teaches, and what it cost."""

    run: str
    """Name of its own run."""
    weights_sha256: str
    total: np.ndarray
    """float64 [D]: NLL summed over the scored tokens of each document, nats."""
    flops: float
    """Of its training."""
    flops_per_token: float
    """Of one forward pass."""
    seconds: float
    """Of the steps of its training."""


@dataclass(frozen=True, kw_only=True)
class ComparedArms:
    """Arms that were judged by the same documents, and their teachers."""

    probe: str
    weight: np.ndarray
    """float64 [D]: scored tokens of each document."""
    passages: int
    arms: tuple[Arm, ...]
    teachers: tuple[Teacher, ...]


def read_distillation(runs: "ComparedRuns") -> ComparedArms:
    """Read it from runs of which some are taught by models from runs of their own, and some are not.

    Judged by the first probe set of held-out text, as `evaluation` recorded it by passage. FLOPs are the counted ones
    (`models.weights.counted_flops_per_token`), or 6ND where a model could not be counted: those of the student, and a
    third of its own for each token that a teacher read, at the steps at which a term that reads it had a weight. What
    terms compute besides (projections, parts of a head read twice) is not counted in FLOPs; it is in seconds. A teacher
    whose targets come from a cache has read the cache's tokens once, before the first step; the seconds of filling it
    are not counted. A step's seconds are the median over the seeds of the arm, so that a machine that paused in one
    weighs nothing.

    What is not counted is NaN: FLOPs of `pcgrad` (a backward pass a term), of text that a student writes, and of an
    order by a teacher; seconds of an arm that reads a cache, which had to be filled.

    Raises StoreError for what is lacking, and for recipes of a folder that are varied in something else as well.
    """
    if any("recipe" in band.levels and len(band.levels) > 1 for band in runs.bands):
        raise StoreError("lacks arms that differ in nothing but the recipe: sweep the folder without --vary")
    if not any(run.recipe.get("companions") for run in runs.runs):
        raise StoreError("lacks runs that learn from a teacher: name one in companions, and a term that reads it")
    require_ended(runs)
    require_equal_passages(runs)
    probe = _held_out(runs.runs[0])
    counted = all(np.isfinite(_per_token(run, "flops_counted")) for run in runs.runs)
    flops = "flops_counted" if counted else "flops"
    reader = _Reader(probe=probe, flops=flops, labels=_labels(runs.bands), teachers={})
    arms = tuple(reader.arm(band) for band in runs.bands)
    if all(arm.teachers for arm in arms):
        raise StoreError("lacks runs without a teacher to compare with: add an arm whose objective is next_token alone")
    items = reader.losses(runs.runs[0])
    return ComparedArms(
        probe=probe, weight=items.weight, passages=items.items, arms=arms, teachers=tuple(reader.teachers.values())
    )


def _labels(bands: "Sequence[Configuration]") -> dict[str, str]:
    """Names of the recipes without the words that all of them begin with, where they differ; else the labels."""
    names = [str(band.runs[0].recipe.get("name", "")) for band in bands]
    labels = [band.label for band in bands]
    if len(set(names)) < len(names) or not all(names):
        return dict(zip(labels, labels, strict=True))
    parts = [name.split("-") for name in names]
    shared = 0
    while all(len(own) > shared + 1 and own[shared] == parts[0][shared] for own in parts):
        shared += 1
    return dict(zip(labels, ("-".join(own[shared:]) for own in parts), strict=True))


def _held_out(run: "RecordedRun") -> str:
    probe = next((name for name, role in roles(run).items() if role == "held out"), None)
    if probe is None:
        raise StoreError("lacks held-out text of the kind that is learned: add a probe set of it to data.probes")
    return probe


def _per_token(run: "RecordedRun", flops: str) -> float:
    """FLOPs of one forward and one backward pass of the run's model; NaN where they are not known."""
    data = of_kind(run, "evaluation")
    if data is None or not data["tokens_seen"].to_numpy()[-1] > 0:
        return float("nan")
    return float(data[flops].to_numpy()[-1] / data["tokens_seen"].to_numpy()[-1])


@dataclass(kw_only=True)
class _Reader:
    probe: str
    flops: str
    """Which coordinate of a state counts."""
    labels: Mapping[str, str]
    """What arms are called, by the label of their configuration."""
    teachers: dict[str, Teacher]
    """By fingerprint, as they are met."""

    def losses(self, run: "RecordedRun") -> Items:
        """Of the probe set, by document. Raises StoreError where they were not recorded."""
        data = of_kind(run, "evaluation")
        record = None if data is None else of_evaluation(data)
        if record is None or not record.of(self.probe).any():
            raise StoreError(
                f"lacks the losses of {self.probe} by passage in {run.name}, at two states at least: add evaluation to "
                "measures"
            )
        return loss_by_document(run, self.probe, record)

    def arm(self, band: "Configuration") -> Arm:
        """One configuration."""
        read = {name: self._teacher(band.runs[0], name) for name in _companions_read(band.runs[0])}
        seconds = _seconds_of_steps(band.runs)
        curves = {seed: self._curve(run, read, seconds) for seed, run in zip(band.seeds, band.runs, strict=True)}
        return Arm(
            label=self.labels[band.label], teachers=tuple(each.weights_sha256 for each in read.values()), curves=curves
        )

    def _curve(self, run: "ComparedRun", read: Mapping[str, Teacher], seconds: np.ndarray) -> CostCurve:
        items, data = self.losses(run), of_kind(run, "evaluation")
        assert data is not None
        tokens = data["tokens_seen"].to_numpy().astype(np.float64)
        flops = data[self.flops].to_numpy().astype(np.float64)
        if not _counts_all_flops(run):
            flops = np.full_like(flops, np.nan)
        for name, teacher in read.items():
            flops = flops + teacher.flops_per_token * _tokens_read(run, name, items.step, tokens)
        elapsed = np.full(int(items.step[-1]) + 1, np.nan)
        elapsed[: len(seconds) + 1] = np.concatenate([[0.0], np.cumsum(seconds)])[: len(elapsed)]
        elapsed = elapsed[items.step] if not run.provenance.get("cached_targets") else np.full(len(items.step), np.nan)
        trained = {teacher.weights_sha256: teacher for teacher in read.values()}.values()
        costs: dict[Axis, np.ndarray] = {
            "steps": items.step.astype(np.float64),
            "FLOPs": flops,
            "FLOPs with the teacher's training": flops + sum(teacher.flops for teacher in trained),
            "seconds": elapsed,
            "seconds with the teacher's training": elapsed + sum(teacher.seconds for teacher in trained),
        }
        return CostCurve(total=items.total, costs=costs)

    def _teacher(self, run: "ComparedRun", name: str) -> Teacher:
        """Raises StoreError where its run is not there, or was not judged by the same passages."""
        parent = (run.provenance.get("companions") or {}).get(name, {}).get("parent")
        if not parent:
            raise StoreError(
                f"lacks what the companion '{name}' of {run.name} cost: take it from a run (kind: from_run)"
            )
        fingerprint = str(parent["weights_sha256"])
        if fingerprint not in self.teachers:
            self.teachers[fingerprint] = self._read_teacher(run, name, parent)
        return self.teachers[fingerprint]

    def _read_teacher(self, run: "ComparedRun", name: str, parent: Mapping[str, object]) -> Teacher:
        folder = parents_folder(run) / str(parent["run"])
        try:
            own = open_run(folder)
        except StoreError as error:
            raise StoreError(f"lacks the run of the companion '{name}' of {run.name}: {error}") from None
        if self.probe not in own.probes or own.probes[self.probe].fingerprint != run.probes[self.probe].fingerprint:
            raise StoreError(
                f"lacks the passages of {self.probe} in {own.name}, which teaches {run.name}: look at the same"
            )
        items, data = self.losses(own), of_kind(own, "evaluation")
        assert data is not None
        at = np.flatnonzero(items.step == parent["step"])
        if not len(at) or str(data["weights_sha256"].to_numpy()[at[0]]) != parent["weights_sha256"]:
            raise StoreError(
                f"lacks an evaluation of the weights of {own.name} that teach {run.name}, of step {parent['step']}: "
                "evaluate it there, or train it again"
            )
        step_seconds = _seconds_of_steps([own])
        return Teacher(
            run=own.name,
            weights_sha256=str(parent["weights_sha256"]),
            total=items.total[at[0]],
            flops=float(data[self.flops].to_numpy()[at[0]]),
            flops_per_token=_FORWARD * _per_token(own, self.flops),
            seconds=float(step_seconds[: items.step[at[0]]].sum()) if len(step_seconds) else float("nan"),
        )


def _companions_read(run: "RecordedRun") -> list[str]:
    """The companions that a term of the loss reads, or the order of the data, in the recipe's order."""
    companions = run.recipe.get("companions") or {}
    terms = run.recipe.get("objective") or ()
    return [name for name in companions if name == _judge(run) or any(name in _read_by(term) for term in terms)]


def _judge(run: "RecordedRun") -> str | None:
    """The companion by which the data are put in order."""
    order = (run.recipe.get("train") or {}).get("order")
    by = order.get("by") if isinstance(order, Mapping) else None
    return None if by is None else str(by)


def _counts_all_flops(run: "RecordedRun") -> bool:
    """Is there nothing that costs and is not counted?"""
    weighting = run.recipe.get("weighting") or {}
    kind = weighting.get("kind") if isinstance(weighting, Mapping) else weighting
    return kind != "pcgrad" and not (run.recipe.get("train") or {}).get("on_policy") and _judge(run) is None


def _read_by(term: Mapping[str, object]) -> set[str]:
    """The companions that a term names."""
    teachers = term.get("teachers")
    return {str(term.get("teacher"))} | set(teachers if isinstance(teachers, Mapping) else ())


def _tokens_read(run: "ComparedRun", companion: str, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Tokens that a companion had read at each state, float64 [C]: those of the steps at which a term read it.

    Of one whose targets came from a cache, those that it read to fill it, all before the first step.
    """
    cached = (run.provenance.get("cached_targets") or {}).get(companion)
    if cached:
        return np.full(len(states), float(cached["tokens_read"]))
    steps = np.arange(int(states[-1]))
    active = np.zeros(len(steps), dtype=bool)
    for term in run.recipe.get("objective") or ():
        if companion not in _read_by(term) or term.get("weight", 1.0) == 0:
            continue
        rows = run.metrics.get(f"weight_{term.get('name') or term['kind']}")
        if rows is None:  # a weight that does not change stands in the recipe alone
            return tokens
        values = rows.drop_duplicates("step", keep="last").set_index("step")["value"]
        active |= values.reindex(steps).fillna(0).to_numpy() != 0
    share = np.concatenate([[0], np.cumsum(active)])[states] / np.maximum(states, 1)
    return np.asarray(share * tokens)


def _seconds_of_steps(runs: "Sequence[RecordedRun]") -> np.ndarray:
    """Of each step the median over runs of one arm, float64 [steps]; NaN from the first step that none recorded on."""
    recorded = [run.series("step_seconds", "timing").drop_duplicates("step", keep="last") for run in runs]
    last = max((int(rows["step"].max()) for rows in recorded if len(rows)), default=-1)
    table = np.full((len(runs), last + 1), np.nan)
    for row, rows in zip(table, recorded, strict=True):
        row[rows["step"].to_numpy(dtype=np.int64)] = rows["value"].to_numpy(dtype=np.float64)
    known = np.isfinite(table).any(axis=0)
    medians = np.full(last + 1, np.nan)
    medians[known] = np.nanmedian(table[:, known], axis=0)
    return medians
