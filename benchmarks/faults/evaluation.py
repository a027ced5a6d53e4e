"""Faults of the family `evaluation`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean
from ontogeny.store.history import EVAL

Pair = tuple[Synthetic, Synthetic]


def identical_evaluations(rng: np.random.Generator) -> Pair:
    """All evaluations equal, or all from the third on."""
    twin = clean(rng)
    while len(twin.get("loss", EVAL)[0]) < 9:
        twin = clean(rng)
    fault = twin.copy()
    _, values = fault.get("loss", EVAL)
    start = int(rng.integers(0, 3))
    values[start:] = values[start]
    return fault, twin


def best_by_noise(rng: np.random.Generator) -> Pair:
    """A plateau of evaluations within their noise, the lowest chosen; the twin's best leads clearly."""
    twin = clean(rng)
    while len(twin.get("loss", EVAL)[0]) < 10:
        twin = clean(rng)
    twin.decimals = None
    fault = twin.copy()
    _evaluated, values = fault.get("loss", EVAL)
    level = float(values[-1])
    values[:] = level * (1 + 0.004 * rng.uniform(-1, 1, len(values)))
    values[:3] += level * 0.1
    low = np.argsort(values)[:3]
    values[low] = values[low[0]] + level * 1e-4 * np.arange(3)
    fault.config["best_metric"] = float(values.min())
    _, benign = twin.get("loss", EVAL)
    benign[:] = np.linspace(3, 2, len(benign)) + 0.001 * rng.normal(size=len(benign))
    twin.config["best_metric"] = float(benign.min())
    return fault, twin


def examples_miscounted(rng: np.random.Generator) -> Pair:
    """One evaluation scores 5 to 100% more examples than the others; the twin's products agree to rounding."""
    twin = clean(rng)
    count = len(twin.get("loss", EVAL)[0])
    size = int(rng.integers(100, 5000))
    runtime = np.round(rng.uniform(20, 60, count), 4)
    twin.config["eval_runtime_s"] = runtime.tolist()
    twin.config["eval_examples_per_second"] = np.round(size / runtime, 3).tolist()
    fault = twin.copy()
    rate = np.asarray(twin.config["eval_examples_per_second"]).copy()
    rate[int(rng.integers(count))] *= 1 + rng.uniform(0.05, 1.0)
    fault.config["eval_examples_per_second"] = rate.tolist()
    return fault, twin


def keep_best_cannot_work(rng: np.random.Generator) -> Pair:
    """The run holds a best value that no evaluation has."""
    twin = clean(rng)
    twin.decimals = None
    _, values = twin.get("loss", EVAL)
    twin.config["best_metric"] = float(values.min())
    fault = twin.copy()
    fault.config["best_metric"] = float(values.min() - rng.uniform(0.01, 1.0))
    return fault, twin


def evaluation_still_falling(rng: np.random.Generator) -> Pair:
    """Evaluations fall steadily to the last at a constant rate; the twin's rate comes down."""
    twin = clean(rng)
    while len(twin.get("loss", EVAL)[0]) < 9:
        twin = clean(rng)
    steps, _ = twin.get("loss")
    twin.put(
        "learning_rate", steps, 1e-4 * np.minimum(steps / (0.05 * steps[-1]), 1) * (1 - steps / (1.01 * steps[-1]))
    )
    fault = twin.copy()
    evaluated, values = fault.get("loss", EVAL)
    first = float(values[0])
    curve = first * (1 - rng.uniform(0.2, 0.5) * evaluated / evaluated[-1])
    fault.put("loss", evaluated, curve + 0.001 * first * rng.normal(size=len(evaluated)), EVAL)
    fault.put("learning_rate", steps, np.full(len(steps), 1e-4))
    return fault, twin
