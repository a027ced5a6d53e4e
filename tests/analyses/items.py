"""Losses of documents at checkpoints, with a course planted into noise."""

from typing import Any

import numpy as np

from ontogeny.analyses.recorded.items import Items


def items(
    curve: Any, seed: int = 0, *, noise: float = 0.1, documents: int = 20, shock: float = 0.0, **changes: Any
) -> Items:
    """A set whose mean loss follows `curve` [C]; each document has a level, and noise of its own at each checkpoint.

    `shock`: standard deviation of what all documents share at a checkpoint. `changes` replace fields.
    """
    random = np.random.default_rng(seed)
    curve = np.asarray(curve, dtype=float)
    weight = random.integers(50, 150, documents).astype(float)
    mean = curve[:, None] + random.normal(4, 0.5, documents) + random.normal(0, noise, (len(curve), documents))
    mean += random.normal(0, shock, (len(curve), 1)) if shock else 0.0
    fields: dict[str, Any] = {
        "probe": "general",
        "role": "general",
        "what": "loss",
        "unit": "nats per token",
        "worse": 1,
        "step": np.arange(len(curve)) * 10,
        "total": mean * weight,
        "weight": weight,
        "items": 2 * documents,
    }
    return Items(**(fields | changes))
