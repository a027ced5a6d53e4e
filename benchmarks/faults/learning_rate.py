"""Faults of the family `learning_rate`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean

Pair = tuple[Synthetic, Synthetic]


def zero_learning_rate(rng: np.random.Generator) -> Pair:
    """0 over 5 to 40% of the run from its middle on; the twin's schedule ends at 0."""
    twin = clean(rng)
    steps, rate = twin.get("learning_rate")
    fault = twin.copy()
    begin = int(len(steps) * rng.uniform(0.2, 0.5))
    fault.get("learning_rate")[1][begin : begin + max(int(len(steps) * rng.uniform(0.05, 0.4)), 4)] = 0.0
    rate[-1] = 0.0
    return fault, twin


def rate_jump(rng: np.random.Generator) -> Pair:
    """After 30 to 70% of the run the schedule starts anew, 2.5 to 10 times as high."""
    twin = clean(rng)
    fault = twin.copy()
    _, rate = fault.get("learning_rate")
    at = int(len(rate) * rng.uniform(0.3, 0.7))
    rate[at:] = rate[at:] + (rate.max() * 0.3 + rate[at]) * rng.uniform(2.5, 10)
    return fault, twin


def unfinished_warmup(rng: np.random.Generator) -> Pair:
    """A straight rise from the first entry to the last; the twin's warm-up ends."""
    twin = clean(rng)
    fault = twin.copy()
    steps, rate = fault.get("learning_rate")
    rate[:] = 1e-4 * steps / steps[-1]
    return fault, twin


def rate_too_high(rng: np.random.Generator) -> Pair:
    """A warm-up over 30% of the run, in whose second half the loss climbs by 60 to 200% and stays; the twin falls."""
    twin = clean(rng, least=150, rho=0.0)
    steps, _values = twin.get("loss")
    warm = int(0.3 * len(steps))
    twin.put("learning_rate", steps, 1e-4 * np.minimum((np.arange(len(steps)) + 1) / warm, 1.0))
    fault = twin.copy()
    _, bad = fault.get("loss")
    half = warm // 2
    climb = np.concatenate([np.zeros(half), np.linspace(0, 1, warm - half), np.ones(len(steps) - warm)])
    bad *= 1 + climb * rng.uniform(0.6, 2.0)
    return fault, twin


def decay_unfinished(rng: np.random.Generator) -> Pair:
    """A linear decay made for 2.2 to 8 times the steps; the twin decays to its end."""
    twin = clean(rng)
    fault = twin.copy()
    steps, _ = fault.get("learning_rate")
    warm = max(int(steps[-1] * 0.03), 1)
    rise = np.minimum(steps / warm, 1)
    fault.put("learning_rate", steps, 1e-4 * rise * (1 - steps / (steps[-1] * rng.uniform(2.2, 8))))
    twin.put("learning_rate", steps, 1e-4 * rise * (1 - steps / (steps[-1] * 1.001)))
    return fault, twin
