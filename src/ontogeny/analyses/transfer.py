"""Tasks one after the other: what does each do to those before it, and to those to come?"""

from collections.abc import Sequence
from typing import Any, ClassVar, TypedDict

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.items import Items
from ontogeny.analyses.recorded.task_stages import Tasks, tasks_in
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.documents import LEAST_DOCUMENTS
from ontogeny.statistics.estimates import counted
from ontogeny.statistics.paired import (
    PairedDifference,
    interval_text,
    mean_of_differences,
    mean_since_best,
    paired_difference,
)


class TaskDifference(TypedDict):
    """What stages did to one task, in nats per token."""

    task: str
    difference: PairedDifference
    p_adjusted: float


class Transfer(Analysis):
    """The matrix R and what follows from it. R[i][j] is the loss on task j (nats per token, text not trained on) after
    stage i; R[0][j] is before training. T tasks, j from 1.

    Defined for accuracies by Lopez-Paz and Ranzato (2017) and, forgetting, Chaudhry et al. (2018); a loss is better
    when it is lower, so signs are turned to keep their meaning. Positive is good of the first three, bad of the last:

    - `learned`: R[j-1][j] - R[j][j], what a task's own stage gave;
    - `backward`: R[j][j] - R[T][j] for j < T, what later stages gave (negative: took);
    - `forward`: R[0][j] - R[j-1][j] for j > 1, what earlier stages gave, against the model before training (theirs: a
      random one);
    - `forgetting`: R[T][j] - min over 1 <= l <= T of R[l][j] for j < T (theirs: l < T, so that it may be negative), the
      best stage chosen on one half of the documents and measured on the other (`paired.since_best`); `naive` without
      that, an upper bound on average.

    Each is paired by document, with a t interval; means over tasks count tasks alike. Adjusted together by Benjamini
    and Hochberg.
    """

    order: ClassVar[float] = 90
    section: ClassVar[str] = "forgetting"

    probes: tuple[str, ...] | None = Field(default=None)
    """A probe set for each task, in order; by default the first held-out one of its corpus."""
    stages: tuple[int, ...] | None = Field(default=None)
    """States at which the stages end; by default where the passages of each entry of data.train do."""

    def analyze(self, run: RecordedRun) -> Result:
        """Find the stages and compare."""
        return self.compare(tasks_in(run, self.probes, self.stages))

    def compare(self, tasks: Tasks) -> Result:
        """The same, from losses at the ends of the stages."""
        random = np.random.default_rng(self.seed)
        losses, last = tasks.probes, len(tasks.probes)
        best, mean_best = mean_since_best([(loss.total[1:], loss.weight) for loss in losses[:-1]], random)
        differences = {
            "learned": {j: _between(losses[j - 1], j - 1, j) for j in range(1, last + 1)},
            "backward": {j: _between(losses[j - 1], j, last) for j in range(1, last)},
            "forward": {j: _between(losses[j - 1], 0, j - 1) for j in range(2, last + 1)},
            "forgetting": dict(enumerate(best, start=1)),
        }
        p = [difference.p for by_task in differences.values() for difference in by_task.values()]
        adjusted = iter(benjamini_hochberg(np.array(p)))
        numbers: dict[str, Any] = {
            "tasks": tasks.names,
            "probes": [loss.probe for loss in losses],
            "step": losses[0].step,
            "documents": [loss.documents for loss in losses],
            "by_passage": all(loss.items for loss in losses),
            "no_number": [
                name for name, loss in zip(tasks.names, losses, strict=True) if not np.isfinite(loss.total).all()
            ],
            "R": np.stack([loss.mean for loss in losses], axis=1),
            **{
                key: [
                    TaskDifference(task=tasks.names[j - 1], difference=difference, p_adjusted=float(next(adjusted)))
                    for j, difference in by_task.items()
                ]
                for key, by_task in differences.items()
            },
            "mean": {
                key: mean_best if key == "forgetting" else mean_of_differences(list(by_task.values()))
                for key, by_task in differences.items()
            },
            "naive": [float(loss.mean[-1] - loss.mean[1:].min()) for loss in losses[:-1]],
        }
        sentences = [_matrix(numbers), *(_of_mean(key, numbers) for key in differences)]
        sentences += [_of_task(key, row, numbers["no_number"]) for key in differences for row in numbers[key]]
        return Result(verdict=_verdict(numbers), sentences=tuple(sentences), reading=_READING, numbers=numbers)


def _between(loss: Items, before: int, after: int) -> PairedDifference:
    """How much lower the loss is after than before."""
    return paired_difference(loss.total[before] - loss.total[after], loss.weight)


def _verdict(numbers: dict[str, Any]) -> str:
    broken = numbers["no_number"]
    if all(np.isnan(row["p_adjusted"]) for key in ("backward", "forward", "forgetting") for row in numbers[key]):
        if broken:
            return f"not assessable: {_of_no_number(broken)}"
        if max(numbers["documents"]) > 1 or numbers["by_passage"]:
            return (
                "not assessable: no loss with an interval: take the probe sets from 2 documents or more (data.probes)"
            )
        return "not assessable: no loss with an interval: add token_nll to measures, which gives one for each passage"

    def surely(key: str, sign: int) -> list[str]:
        rows = [row for row in numbers[key] if row["p_adjusted"] < 0.05]
        return [row["task"] for row in rows if row["difference"].value * sign > 0]

    parts = {
        "later tasks took from": surely("backward", -1),
        "later tasks gave to": surely("backward", 1),
        "earlier tasks helped": surely("forward", 1),
        "earlier tasks harmed": surely("forward", -1),
    }
    sentences = [f"{words} {', '.join(names)}" for words, names in parts.items() if names]
    untested = [
        name
        for name in numbers["tasks"]
        if name not in broken
        and all(np.isnan(row["p_adjusted"]) for key in _MEANING for row in numbers[key] if row["task"] == name)
    ]
    verdict = "; ".join(sentences) or "no task surely changed another"
    if broken:
        verdict += f"; not assessable: {_of_no_number(broken)}"
    if untested:
        verdict += f"; not assessable: {', '.join(untested)}: take their probe sets from 2 documents or more"
    return verdict


def _of_no_number(tasks: Sequence[str]) -> str:
    return f"the loss on {', '.join(tasks)} is no number after some stage: look at what made it none"


def _matrix(numbers: dict[str, Any]) -> str:
    stages = ["before training", *(f"after {name}" for name in numbers["tasks"])]
    rows = [
        f"{stage} {' '.join(f'{value:.3f}' for value in row)}" for stage, row in zip(stages, numbers["R"], strict=True)
    ]
    return f"R, nats per token on {', '.join(numbers['probes'])}: {'; '.join(rows)}"


_MEANING = {
    "learned": "learned in a task's own stage",
    "backward": "backward transfer (positive: later tasks gave)",
    "forward": "forward transfer (positive: earlier tasks gave)",
    "forgetting": "forgetting (positive: worse than after its best earlier stage)",
}


_TOO_FEW = (
    f"not assessable: lacks {LEAST_DOCUMENTS} documents or more in each task's probe set, some of which choose the "
    "best stage: take them from more documents"
)


def _of_mean(key: str, numbers: dict[str, Any]) -> str:
    mean, tasks = numbers["mean"][key], len(numbers[key])
    if np.isnan(mean.value):
        return f"{_MEANING[key]}: {_lack(numbers['no_number'])}"
    documents = counted(mean.documents, "document")
    return f"{_MEANING[key]}: {interval_text(mean)} nats, mean over {tasks} tasks, n = {documents}"


def _lack(no_number: Sequence[str]) -> str:
    """Why a difference has no value; `no_number`: the tasks it is about whose loss is none."""
    return f"not assessable: {_of_no_number(no_number)}" if no_number else _TOO_FEW


def _of_task(key: str, row: TaskDifference, no_number: Sequence[str]) -> str:
    difference = row["difference"]
    if np.isnan(difference.value):
        return f"{row['task']}, {key}: {_lack([name for name in no_number if name == row['task']])}"
    p = f", p = {row['p_adjusted']:.3g} adjusted" if np.isfinite(row["p_adjusted"]) else ""
    return f"{row['task']}, {key}: {interval_text(difference)}{p}, n = {counted(difference.documents, 'document')}"


_READING = (
    "One order of tasks, one run: another order may give other transfer. The loss on one task also falls where a later "
    "one teaches what both share. Intervals are over documents of the tasks' held-out sets; only several seeds and "
    "orders speak of the tasks."
)
