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
