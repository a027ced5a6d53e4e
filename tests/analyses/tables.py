"""Passages laid side by side, with effects planted into noise."""

from typing import Any

import numpy as np

from ontogeny.analyses.recorded.passages import Passages

EPOCHS = (0.0, 1, 3, 5, 10, 20, 30, 50, 100)


def table(
    seed: int = 0,
    *,
    passages: int = 40,
    per_document: int = 1,
    epochs: tuple[float, ...] = EPOCHS,
    layers: int = 3,
    noise: float = 0.1,
    **changes: Any,
) -> Passages:
    """As many trained as novel passages, `per_document` to a document; half of the trained ones get memorized late.

    Scores are a level per passage, and noise: no effect of anything. `changes` replace fields.
    """
    random = np.random.default_rng(seed)
    count = 2 * passages
    trained = np.arange(count) < passages
    level = random.normal(-5, 0.5, (1, layers, count))
    score = level + random.normal(0, noise, (len(epochs), layers, count))
    memorized = np.zeros((len(epochs), count))
    memorized[-2:, : passages // 2] = 1
    fields: dict[str, Any] = {
        "step": np.arange(len(epochs)) * 10,
        "epoch": np.array(epochs, dtype=float),
        "layer": np.arange(layers),
        "score": score,
        "memorized": memorized,
        "accuracy": memorized,
        "nll": np.full((len(epochs), count), 3.0) + random.normal(0, 0.1, (len(epochs), count)),
        "length": np.full(count, 100),
        "trained": trained,
        "document": np.arange(count) // per_document,
        "name": np.array([f"p/{i}" for i in range(count)], dtype=object),
        "source": np.array([f"c:{i // per_document}" for i in range(count)], dtype=object),
        "copies": np.ones(count, dtype=np.int64),
    }
    return Passages(**(fields | changes))
