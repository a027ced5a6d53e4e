"""Faults of the family `generalisation`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean
from ontogeny.store.history import EVAL


def overfitting(rng: np.random.Generator) -> tuple[Synthetic, Synthetic]:
    """From 40 to 70% of the run on, the evaluation loss climbs to 5 to 40% above its lowest. Returns fault, twin."""
    twin = clean(rng, least=150)
    while len(twin.get("loss", EVAL)[0]) < 10:
        twin = clean(rng, least=150)
    fault = twin.copy()
    steps, values = fault.get("loss", EVAL)
    turn = int(len(steps) * rng.uniform(0.4, 0.7))
    climb = np.linspace(0, 1, len(steps) - turn + 1)[1:] * rng.uniform(0.05, 0.4) * values[turn]
    values[turn:] = values[turn] + climb
    fault.put("loss", steps, values, EVAL)
    return fault, twin


def epoch_staircase(rng: np.random.Generator) -> tuple[Synthetic, Synthetic]:
    """Flat within each of 3 or 4 epochs, 12 to 40% lower in each next one; the twin falls smoothly over its epochs."""
    twin = clean(rng, least=400, evaluations=False, from_scratch=False, rho=0.0)
    steps, values = twin.get("loss")
    epochs = int(rng.integers(3, 5))
    twin.steps_per_epoch = int(np.ceil(steps[-1] / epochs))
    fault = twin.copy()
    number = np.ceil(steps / fault.steps_per_epoch) - 1
    level = float(values[0])
    noise = rng.normal(0, 0.03 * level, len(steps))
    fault.put("loss", steps, level * (1 - rng.uniform(0.12, 0.4)) ** number + noise)
    return fault, twin


def suspected_leak(rng: np.random.Generator) -> tuple[Synthetic, Synthetic]:
    """Training and evaluation loss fall to 0.02 to 0.08 nats; the twin ends where such runs end."""
    twin = clean(rng)
    fault = twin.copy()
    floor = rng.uniform(0.02, 0.08)
    for scope in ("train", EVAL):
        steps, values = fault.get("loss", scope)
        along = steps / steps[-1]
        fault.put("loss", steps, floor + (max(values[0], 2.0) - floor) * np.exp(-9 * along), scope)
    return fault, twin


def no_evaluation(rng: np.random.Generator) -> tuple[Synthetic, Synthetic]:
    """3.5 to 15 epochs to a third of the first loss without an evaluation; the twin is evaluated."""
    twin = clean(rng, from_scratch=False)
    steps, values = twin.get("loss")
    values *= np.linspace(1, 0.4, len(values))
    twin.steps_per_epoch = int(steps[-1] / rng.uniform(3.5, 15))
    fault = twin.copy()
    fault.series.pop((EVAL, "loss"))
    return fault, twin


def generalisation_gap(rng: np.random.Generator) -> tuple[Synthetic, Synthetic]:
    """Training falls to 40% while evaluation levels off at 75 to 85%; the twin's evaluation follows."""
    twin = clean(rng, least=400, from_scratch=False, rho=0.0)
    while len(twin.get("loss", EVAL)[0]) < 12:
        twin = clean(rng, least=400, from_scratch=False, rho=0.0)
    fault = twin.copy()
    steps, values = fault.get("loss")
    first = float(values[0])
    along = steps / steps[-1]
    fault.put("loss", steps, first * (0.4 + 0.6 * np.exp(-4 * along)) + rng.normal(0, 0.01 * first, len(steps)))
    evaluated, _ = fault.get("loss", EVAL)
    level = rng.uniform(0.75, 0.85)
    curve = first * (level + (1 - level) * np.exp(-12 * evaluated / steps[-1]))
    fault.put("loss", evaluated, curve + 0.0005 * first * rng.normal(size=len(evaluated)), EVAL)
    return fault, twin


def forgetting(rng: np.random.Generator) -> tuple[Synthetic, Synthetic]:
    """A second evaluation set whose loss rises by 6 to 40% from the first evaluation on; the twin's wobbles by 0.3%."""
    twin = clean(rng)
    evaluated, _values = twin.get("loss", EVAL)
    general = 3.0 + 0.009 * rng.normal(size=len(evaluated))
    twin.put("loss", evaluated, general, "general")
    fault = twin.copy()
    rise = rng.uniform(0.06, 0.4) * np.linspace(0, 1, len(evaluated)) ** 0.5
    fault.put("loss", evaluated, general * (1 + rise), "general")
    return fault, twin
