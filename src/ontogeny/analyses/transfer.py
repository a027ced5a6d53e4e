"""Tasks one after the other: what does each do to those before it, and to those to come?"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.task_stages import Tasks, tasks_in
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import by_document as stats
from ontogeny.statistics.paired import Difference, average, difference, interval, since_best

if TYPE_CHECKING:
    from ontogeny.analyses.recorded.items import Items


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
        last = len(tasks.probes)
        over = {
            "learned": range(1, last + 1),
            "backward": range(1, last),
            "forward": range(2, last + 1),
            "forgetting": range(1, last),
        }
        apart: dict[str, Callable[[Items, int], Difference]] = {
            "learned": lambda one, j: _between(one, j - 1, j),
            "backward": lambda one, j: _between(one, j, last),
            "forward": lambda one, j: _between(one, 0, j - 1),
            "forgetting": lambda one, j: since_best(one.total[1:], one.weight, random),
        }
        found = {key: [apart[key](tasks.probes[j - 1], j) for j in js] for key, js in over.items()}
        p = stats.benjamini_hochberg(np.array([one.p for key in found for one in found[key]]))
        adjusted = dict(zip([(key, j) for key, js in over.items() for j in js], p, strict=True))
        numbers: dict[str, Any] = {
            "tasks": tasks.names,
            "probes": [one.probe for one in tasks.probes],
            "step": tasks.probes[0].step,
            "documents": [one.documents for one in tasks.probes],
            "R": np.stack([one.mean for one in tasks.probes], axis=1),
            **{
                key: [
                    {"task": tasks.names[j - 1], "difference": one, "p_adjusted": float(adjusted[key, j])}
                    for j, one in zip(over[key], found[key], strict=True)
                ]
                for key in over
            },
            "mean": {key: average(one) for key, one in found.items()},
            "naive": [float(one.mean[-1] - one.mean[1:].min()) for one in tasks.probes[:-1]],
        }
        sentences = [_matrix(numbers), *(_of_mean(key, numbers) for key in over)]
        sentences += [_of_task(key, one) for key in over for one in numbers[key]]
        return Result(verdict=_verdict(numbers), sentences=tuple(sentences), reading=_READING, numbers=numbers)


def _between(one: "Items", before: int, after: int) -> Difference:
    """How much lower the loss is after than before."""
    return difference(one.total[before] - one.total[after], one.weight)


def _verdict(numbers: dict[str, Any]) -> str:
    sure = {
        key: [one for one in numbers[key] if one["p_adjusted"] < 0.05] for key in ("backward", "forward", "forgetting")
    }
    if all(np.isnan(one["p_adjusted"]) for key in sure for one in numbers[key]):
        return "not assessable: no loss with an interval; token_nll gives one for each passage"
    lost = [one["task"] for one in sure["backward"] if one["difference"].value < 0]
    gained = [one["task"] for one in sure["backward"] if one["difference"].value > 0]
    ahead = {sign: [one["task"] for one in sure["forward"] if one["difference"].value * sign > 0] for sign in (1, -1)}
    said = [f"later tasks took from {', '.join(lost)}"] if lost else []
    said += [f"later tasks gave to {', '.join(gained)}"] if gained else []
    said += [f"earlier tasks helped {', '.join(ahead[1])}"] if ahead[1] else []
    said += [f"earlier tasks harmed {', '.join(ahead[-1])}"] if ahead[-1] else []
    return "; ".join(said) or "no task surely changed another"


def _matrix(numbers: dict[str, Any]) -> str:
    rows = [
        f"{'before training' if i == 0 else f'after {name}'} " + " ".join(f"{value:.3f}" for value in row)
        for i, (name, row) in enumerate(zip(("", *numbers["tasks"]), numbers["R"], strict=True))
    ]
    return f"R, nats per token on {', '.join(numbers['probes'])}: {'; '.join(rows)}"


_MEANING = {
    "learned": "learned in a task's own stage",
    "backward": "backward transfer (positive: later tasks gave)",
    "forward": "forward transfer (positive: earlier tasks gave)",
    "forgetting": "forgetting (positive: worse than after its best earlier stage)",
}


def _of_mean(key: str, numbers: dict[str, Any]) -> str:
    one = numbers["mean"][key]
    return f"{_MEANING[key]}: {interval(one)} nats, mean over {len(numbers[key])} tasks, n = {one.documents} documents"


def _of_task(key: str, one: dict[str, Any]) -> str:
    p = f", p = {one['p_adjusted']:.3g} adjusted" if np.isfinite(one["p_adjusted"]) else ""
    return f"{one['task']}, {key}: {interval(one['difference'])}{p}, n = {one['difference'].documents} documents"


_READING = (
    "One order of tasks, one run: another order may give other transfer. The loss on one task also falls where a later "
    "one teaches what both share. Intervals are over documents of the tasks' held-out sets; only several seeds and "
    "orders speak of the tasks."
)
