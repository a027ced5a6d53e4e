"""Outcomes of runs by hand."""

from collections.abc import Mapping

import numpy as np

from ontogeny.analyses.recorded.loss_curves import LossCurves, Outcome


def curves(new: list[float], general: list[float]) -> LossCurves:
    """Losses at steps 0, 5 and 10 of the probe sets n (new text) and g (general text)."""
    losses = {"n": np.array(new), "g": np.array(general)}
    return LossCurves(steps=np.array([0, 5, 10]), losses=losses, new="n", general="g", parameters=1000, tokens=640)


def outcome(levels: Mapping[str, str], seed: int, of: LossCurves | None) -> Outcome:
    """One run of a configuration, labelled as a sweep does."""
    label = "  ".join(f"{key}={value}" for key, value in levels.items())
    return Outcome(label=label, levels=levels, seed=seed, run=f"{label} {seed}", curves=of)
