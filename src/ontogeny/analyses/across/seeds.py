"""What recurs over runs that differ in nothing but the seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ontogeny.analyses.shape import recurs
from ontogeny.core.analyses import LEAST_SEEDS, AnalysisAcross, Result
from ontogeny.core.errors import StoreError
from ontogeny.statistics.intervals import t_interval

if TYPE_CHECKING:
    from ontogeny.core.analyses import ComparedRuns, PlainResult


class OverSeeds(AnalysisAcross):
    """Verdicts of `groups` and `shape`, and the share of steps in `rises`, counted over the seeds of a configuration.

    Read from the analyses of the single runs (`ontogeny analyze RUN`), which therefore come first.
    """

    def analyze(self, runs: "ComparedRuns") -> Result:
        """Count them. Raises StoreError unless two seeds of one configuration were analyzed."""
        by_label = {band.label: over_seeds([run.analyses for run in band.runs]) for band in runs.bands}
        results = {label: result for label, result in by_label.items() if result is not None}
        if not results:
            raise StoreError(
                "lacks two seeds of one configuration with analyses groups, shape or rises: carry these out first "
                "(ontogeny analyze RUN)"
            )
        if len(runs.bands) == 1:
            return next(iter(results.values()))
        return Result(
            verdict="; ".join(f"{label}: {result.verdict}" for label, result in results.items()),
            sentences=tuple(f"{label}: {line}" for label, result in results.items() for line in result.sentences),
            reading=_READING,
            numbers={"configurations": {label: dict(result.numbers) for label, result in results.items()}},
        )


def over_seeds(runs: "Sequence[Mapping[str, PlainResult]]") -> Result | None:
    """Verdicts of `groups` and `shape` counted over seeds; None unless at least two runs were analyzed.

    `runs`: the results of each run's analyses, by kind. A turn counts where it recurs (`recurs`).
    """
    groups = [str(run["groups"]["numbers"]["verdict"]) for run in runs if "groups" in run]
    shapes = [run["shape"]["numbers"] for run in runs if "shape" in run]
    rises = [run["rises"]["numbers"] for run in runs if "rises" in run and "new" in run["rises"]["numbers"]]
    seeds = max(len(groups), len(shapes), len(rises))
    if seeds < 2:
        return None
    lines = []
    if len(rises) > 1:
        lines.append(_overshooting(rises))
    if groups:
        counts = ", ".join(f"{name} in {count}" for name, count in Counter(groups).most_common())
        lines.append(f"signs of, in {len(groups)} seeds: {counts}")
    recurring: dict[str, list[str]] = {}
    for x in ("epoch", "log_epoch"):
        named = [[block["name"] for block in numbers["shapes"].get(x, ())] for numbers in shapes]
        if len({len(names) for names in named}) != 1:
            continue
        for block, names in enumerate(zip(*named, strict=True)):
            shape = recurs(list(names), LEAST_SEEDS)
            recurring.setdefault(x, []).append(shape)
            counts = ", ".join(f"{name} in {n}" for name, n in Counter(names).most_common())
            lines.append(f"block {block}, over {x.replace('_', ' ')}s: {shape} ({counts} of {len(names)} seeds)")
    turns = [i for i, shape in enumerate(recurring.get("epoch", ())) if shape in ("U", "inverted U")]
    if not groups and not shapes:
        claim = (
            f"fewer than {LEAST_SEEDS}, so nothing is claimed"
            if seeds < LEAST_SEEDS
            else "how often the rate was too high"
        )
        verdict = f"over {seeds} seeds: {claim}"
    elif seeds < LEAST_SEEDS:
        verdict = f"over {seeds} seeds: what recurs is not assessable with fewer than {LEAST_SEEDS}"
    elif turns:
        verdict = f"over {seeds} seeds: a turn recurs at blocks {turns}"
    else:
        verdict = f"over {seeds} seeds: no turn recurs"
    return Result(verdict=verdict, sentences=tuple(lines), reading=_READING, numbers={"shapes": recurring, "n": seeds})


def _overshooting(rises: Sequence[Mapping[str, Any]]) -> str:
    """The share of evaluated steps at which the rate was too high: mean over seeds."""
    value, low, high, _ = t_interval(np.array([numbers["new"]["share"] for numbers in rises]))
    return (
        f"a step raised the loss of held-out new text at {value:.0%} of the looked-at steps (95% t interval over "
        f"{len(rises)} seeds: {low:.0%} to {high:.0%})"
    )


_READING = (
    "Each seed is an independent training, so what a single run did by chance at a checkpoint does not recur. A turn "
    f"counts where it is found in at least 80% of {LEAST_SEEDS} or more seeds and the opposite turn in none; else the "
    "most frequent of the simpler shapes is named."
)
