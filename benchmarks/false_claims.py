"""False-claim rate and power of the analyses, on draws from curves of known shape.

Shapes: nine checkpoints, 20 documents, a change of 1, noise of 0.3 per document and checkpoint, independent or with a
shock that all documents of a run share. Intervals: coverage of the mean of a short AR(1) series. Then every analysis on
draws without any effect (`nulls`): documents clustered, few, of unequal sizes and variances, with heavy tails, skew,
ties, and alike from checkpoint to checkpoint; and every analysis of several runs on sweeps in which no setting does
anything. docs/statistics.md draws the conclusions.
"""

from collections import Counter
from functools import partial
from typing import Any

import numpy as np

from benchmarks.nulls.across import ENTRIES_ACROSS, SWEEP_NULLS
from benchmarks.nulls.draws import NULLS
from benchmarks.nulls.entries import ENTRIES, rates
from ontogeny.analyses.shape import shape_of
from ontogeny.statistics.robust import geyer_mean

EPOCHS = np.array([0.0, 1, 3, 5, 10, 20, 30, 50, 100])
DOCUMENTS, DRAWS, NULL_DRAWS = 20, 200, 200
CURVES = {
    "flat": np.zeros(9),
    "linear": EPOCHS / 100,
    "saturating (scale 10 epochs)": 1 - np.exp(-EPOCHS / 10),
    "saturating (scale 30 epochs)": 1 - np.exp(-EPOCHS / 30),
    "U (turn at 20)": np.where(EPOCHS <= 20, 1 - EPOCHS / 20, (EPOCHS - 20) / 80),
    "inverted U (turn at 20)": np.where(EPOCHS <= 20, EPOCHS / 20, 1 - (EPOCHS - 20) / 80),
}


def _named(curve: np.ndarray, seed: int, noise: float, shock: float) -> str:
    random = np.random.default_rng(seed)
    values = curve[:, None] + random.normal(0, 0.5, DOCUMENTS) + random.normal(0, noise, (len(EPOCHS), DOCUMENTS))
    values += random.normal(0, shock, (len(EPOCHS), 1)) if shock else 0
    return shape_of(EPOCHS, values, np.random.default_rng((0, seed))).name


def _covers(length: int, correlation: float, draws: int = 600) -> float:
    held = 0
    for seed in range(draws):
        random = np.random.default_rng((seed, length))
        shocks = random.normal(0, 1, length + 200)
        series = np.zeros(length + 200)
        for i in range(1, len(series)):
            series[i] = correlation * series[i - 1] + shocks[i]
        mean = geyer_mean(series[200:])
        held += mean.low <= 0 <= mean.high
    return held / draws


def main() -> dict[str, Any]:
    """All figures."""
    figures: dict[str, Any] = {}
    for about, noise, shock in (
        ("own noise 0.3", 0.3, 0.0),
        ("own noise 1.0", 1.0, 0.0),
        ("shared shock 0.2", 0.3, 0.2),
    ):
        for name, curve in CURVES.items():
            counts = Counter(_named(curve, seed, noise, shock) for seed in range(DRAWS))
            figures[f"{name}, {about}: share of draws by the name that it gets"] = {
                shape: round(count / DRAWS, 3) for shape, count in counts.most_common()
            }
    for correlation in (0.0, 0.5, 0.9):
        figures[f"mean of an AR(1) series, coefficient {correlation}: share of 95% intervals that hold it"] = {
            f"n {length}": round(_covers(length, correlation), 3) for length in (20, 50, 100, 400)
        }
    whole = f"claimed or held, share of {NULL_DRAWS} draws"
    for kind, entry in ENTRIES.items():
        for about, null in NULLS.items():
            figures[f"{kind}, {about}: {whole}"] = rates(partial(entry, null), NULL_DRAWS)
    for kind, across in ENTRIES_ACROSS.items():
        for about, sweep in SWEEP_NULLS.items():
            figures[f"{kind} over runs, {about}: {whole}"] = rates(partial(across, sweep), NULL_DRAWS)
    return figures
