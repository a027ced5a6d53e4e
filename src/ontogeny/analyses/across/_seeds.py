"""What recurs over runs that differ in nothing but the seed."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ontogeny.analyses.shape import recurs
from ontogeny.core.analyses import Result
from ontogeny.statistics.intervals import t_interval

LEAST = 5
"""Seeds, below which nothing is claimed."""


def over_seeds(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> Result | None:
    """Verdicts of `groups` and `shape` counted over seeds; None unless at least two runs were analyzed.

    `runs`: what each run's analyses found, by kind. A turn counts where it recurs (`recurs`).
    """
    groups = [str(one["groups"]["numbers"]["verdict"]) for one in runs if "groups" in one]
    shapes = [one["shape"]["numbers"] for one in runs if "shape" in one]
    rises = [one["rises"]["numbers"] for one in runs if "rises" in one and "new" in one["rises"]["numbers"]]
    seeds = max(len(groups), len(shapes), len(rises))
    if seeds < 2:
        return None
    lines = []
    if len(rises) > 1:
        lines.append(_overshooting(rises))
    if groups:
        said = ", ".join(f"{name} in {count}" for name, count in Counter(groups).most_common())
        lines.append(f"signs of, in {len(groups)} seeds: {said}")
    recurring: dict[str, list[str]] = {}
    for x in ("epoch", "log_epoch"):
        named = [[found["name"] for found in one["shapes"].get(x, ())] for one in shapes]
        if len({len(one) for one in named}) != 1:
            continue
        for block, names in enumerate(zip(*named, strict=True)):
            shape = recurs(list(names), LEAST)
            recurring.setdefault(x, []).append(shape)
            counts = ", ".join(f"{name} in {n}" for name, n in Counter(names).most_common())
            lines.append(f"block {block}, over {x.replace('_', ' ')}s: {shape} ({counts} of {len(names)} seeds)")
    turns = [i for i, one in enumerate(recurring.get("epoch", ())) if one in ("U", "inverted U")]
    if not groups and not shapes:
        claim = f"fewer than {LEAST}, so nothing is claimed" if seeds < LEAST else "how often the rate was too high"
        verdict = f"over {seeds} seeds: {claim}"
    elif seeds < LEAST:
        verdict = f"over {seeds} seeds: what recurs is not assessable with fewer than {LEAST}"
    elif turns:
        verdict = f"over {seeds} seeds: a turn recurs at blocks {turns}"
    else:
        verdict = f"over {seeds} seeds: no turn recurs"
    return Result(verdict=verdict, sentences=tuple(lines), reading=_READING, numbers={"shapes": recurring, "n": seeds})


def _overshooting(rises: Sequence[Mapping[str, Any]]) -> str:
    """At what share of the looked-at steps the rate was too high: mean over seeds."""
    value, low, high, _ = t_interval(np.array([one["new"]["share"] for one in rises]))
    return (
        f"a step raised the loss of held-out new text at {value:.0%} of the looked-at steps (95% t interval over "
        f"{len(rises)} seeds: {low:.0%} to {high:.0%})"
    )


_READING = (
    "Each seed is a training of its own, so what a single run did by chance at a checkpoint does not recur. A turn "
    f"counts where it is found in at least 80% of {LEAST} or more seeds; else the most frequent of the simpler shapes "
    "is named."
)
