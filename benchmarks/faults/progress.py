"""Faults of the family `progress`."""

import math

import numpy as np

from benchmarks.faults._clean import Synthetic, autocorrelated, clean
from ontogeny.store.history import EVAL

Pair = tuple[Synthetic, Synthetic]


def _flat(rng: np.random.Generator, made: Synthetic, level: float, sd: float) -> None:
    """Make the training loss (and the evaluation loss) noise about a level."""
    steps, _ = made.get("loss")
    made.put("loss", steps, level + autocorrelated(rng, len(steps), sd, 0.3))
    if ("eval", "loss") in made.series:
        evaluated, _ = made.get("loss", EVAL)
        made.put("loss", evaluated, level + rng.normal(0, 0.001 * level, len(evaluated)), EVAL)


def not_learning(rng: np.random.Generator) -> Pair:
    """Noise of 0.5 to 4% about a level; the twin is an ordinary run."""
    twin = clean(rng)
    fault = twin.copy()
    level = float(fault.get("loss")[1][0])
    _flat(rng, fault, level, level * rng.uniform(0.005, 0.04))
    return fault, twin


def plateau_at_frequencies(rng: np.random.Generator) -> Pair:
    """From ln V down to 6 to 7.5 nats within the first 30%, and flat; the twin goes on falling."""
    twin = clean(rng, from_scratch=True)
    fault = twin.copy()
    fault.config.pop("vocabulary_size")
    steps, _values = fault.get("loss")
    along = np.arange(len(steps)) / len(steps)
    level = rng.uniform(6.0, 7.5)
    curve = level + (math.log(50257) - level) * np.exp(-along * 25)
    fault.put("loss", steps, curve + autocorrelated(rng, len(steps), 0.01 * level, 0.3))
    evaluated, _ = fault.get("loss", EVAL)
    fault.put("loss", evaluated, np.interp(evaluated, steps, curve) + 0.05, EVAL)
    return fault, twin


def evaluation_does_not_move(rng: np.random.Generator) -> Pair:
    """Evaluations within 0.1%, a flat training loss."""
    twin = clean(rng)
    while len(twin.get("loss", EVAL)[0]) < 9:
        twin = clean(rng)
    fault = twin.copy()
    level = float(fault.get("loss")[1][0])
    _flat(rng, fault, level, level * 0.01)
    evaluated, _ = fault.get("loss", EVAL)
    fault.put("loss", evaluated, level * (1 + rng.uniform(-5e-4, 5e-4, len(evaluated))), EVAL)
    return fault, twin


def stopped_learning(rng: np.random.Generator) -> Pair:
    """All of the fall within the first 15%, then noise of 0.5 to 2%; the twin falls to its end."""
    twin = clean(rng, least=400, evaluations=False, rho=0.0)
    steps, values = twin.get("loss")
    along = np.arange(len(steps)) / len(steps)
    values[:] = values[0] * (1 - 0.5 * along) + rng.normal(0, 0.01 * values[0], len(values))
    fault = twin.copy()
    level = float(values[0]) * 0.6
    noise = autocorrelated(rng, len(steps), level * rng.uniform(0.005, 0.02), 0.3)
    fault.put("loss", steps, level + (values[0] - level) * np.exp(-along * 40) + noise)
    return fault, twin


def still_falling(rng: np.random.Generator) -> Pair:
    """A straight fall by 40% at a constant rate; the twin's rate comes down, and so does its slope."""
    twin = clean(rng, least=400, evaluations=False, rho=0.0)
    steps, values = twin.get("loss")
    twin.put(
        "learning_rate", steps, 1e-4 * np.minimum(steps / (0.05 * steps[-1]), 1) * (1 - steps / (1.01 * steps[-1]))
    )
    fault = twin.copy()
    fault.put("learning_rate", steps, np.full(len(steps), 1e-4))
    first = float(values[0])
    fault.put("loss", steps, first * (1 - 0.4 * steps / steps[-1]) + rng.normal(0, 0.01 * first, len(steps)))
    return fault, twin
