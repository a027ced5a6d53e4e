"""Faults of the family `continuity`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean

Pair = tuple[Synthetic, Synthetic]


def _cut(made: Synthetic, first: int, end: int) -> Synthetic:
    """The entries of steps from `first` to below `end`."""
    part = made.copy()
    for (scope, name), (steps, values) in made.series.items():
        kept = (steps >= first) & (steps < end)
        part.put(name, steps[kept], values[kept], scope)
    return part


def _resumed(rng: np.random.Generator, made: Synthetic, overlap: int) -> tuple[Synthetic, int]:
    """The run, written in two parts; the second begins `overlap` entries before the first ends."""
    steps, _ = made.get("loss")
    at = int(len(steps) * rng.uniform(0.4, 0.7))
    first = _cut(made, 0, int(steps[at]))
    first.then = _cut(made, int(steps[max(at - overlap, 1)]), int(steps[-1]) + 1)
    return first, int(steps[at])


def several_runs(rng: np.random.Generator) -> Pair:
    """Another run behind the first; the twin is one run."""
    twin = clean(rng)
    fault = twin.copy()
    fault.then = clean(rng)
    return fault, twin


def values_disagree_after_resume(rng: np.random.Generator) -> Pair:
    """Repeated steps have other values; the twin repeats them to the digit."""
    made = clean(rng, least=150)
    twin, _ = _resumed(rng, made, 8)
    fault = twin.copy()
    later = twin.then.copy() if twin.then is not None else twin.copy()
    later.get("loss")[1][:] += 0.3 * made.noise_sd + 0.01
    fault.then = later
    return fault, twin


def resume_jump(rng: np.random.Generator) -> Pair:
    """The loss is 40 to 100% (and 10 sd) higher after the resumption; the twin goes on where it was."""
    made = clean(rng, least=150)
    twin, _ = _resumed(rng, made, 3)
    fault = twin.copy()
    later = twin.then.copy() if twin.then is not None else twin.copy()
    level = float(np.median(made.get("loss")[1]))
    later.get("loss")[1][:] *= max(rng.uniform(1.4, 2.0), 1 + 10 * made.noise_sd / level)
    fault.then = later
    return fault, twin


def level_shift(rng: np.random.Generator) -> Pair:
    """The entries before a tenth of the run are of another: 30% lower, at a rate that falls and then starts higher."""
    twin = clean(rng, least=400, rho=0.0)
    steps, values = twin.get("loss")
    level = float(np.median(values))
    values[:] = level * (1.2 - 0.3 * np.linspace(0, 1, len(values)) ** 0.5) + rng.normal(0, 0.005 * level, len(values))
    twin.put("learning_rate", steps, 1e-4 * (1 - steps / (steps[-1] * 1.05)))
    fault = twin.copy()
    at = len(steps) // 10
    fault.get("loss")[1][:at] *= 0.7
    fault.get("learning_rate")[1][:at] *= 0.8
    return fault, twin


def missing_entries(rng: np.random.Generator) -> Pair:
    """10 to 30% of the entries in the middle are gone."""
    twin = clean(rng)
    steps, _ = twin.get("loss")
    begin = int(len(steps) * rng.uniform(0.2, 0.5))
    end = begin + int(len(steps) * rng.uniform(0.1, 0.3))
    fault = twin.copy()
    for (scope, name), (own, values) in twin.series.items():
        kept = (own < steps[begin]) | (own > steps[end])
        fault.put(name, own[kept], values[kept], scope)
    return fault, twin


def cut_short(rng: np.random.Generator) -> Pair:
    """The log ends at 5 to 85% of the plan."""
    twin = clean(rng)
    steps, _ = twin.get("loss")
    fault = _cut(twin, 0, int(steps[int(len(steps) * rng.uniform(0.1, 0.85))]))
    return fault, twin
