"""Loss terms and their weights over training, as the page shows them."""

import numpy as np
import pandas as pd

from ontogeny.store.run_group import RunGroup, RunView

TERM, WEIGHT = "term_", "weight_"


def taught(runs: RunGroup) -> list[RunView]:
    """The runs whose loss reads a companion."""
    return [run for run in runs.runs if run.recipe.get("companions")]


def weighted_terms(run: RunView) -> pd.DataFrame:
    """Columns step, term, raw, weight, weighted: each term at each step; raw and weighted NaN where it rests."""
    parts = []
    for term, constant in _terms(run).items():
        weights = run.metrics.get(WEIGHT + term)
        every = _of_training(run.metrics["loss"]) if weights is None else _of_training(weights)
        known = every.rename(columns={"value": "weight"})
        if weights is None:
            known["weight"] = constant
        raw = run.metrics.get(TERM + term)
        values = _of_training(raw) if raw is not None else pd.DataFrame({"step": [], "value": []})
        both = known.merge(values.rename(columns={"value": "raw"}), on="step", how="left")
        parts.append(both.assign(term=term, weighted=both["weight"] * both["raw"]))
    columns = ["step", "term", "raw", "weight", "weighted"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def resting(run: RunView) -> dict[str, str]:
    """By term: the steps at which its weight is 0, in words; terms that always have one are left out."""
    frame = weighted_terms(run)
    words = {}
    for term, rows in frame.groupby("term", sort=False):
        steps = np.sort(rows.loc[rows["weight"] == 0, "step"].to_numpy(int))
        if len(steps) == len(rows):
            words[str(term)] = "any step"
        elif len(steps):
            words[str(term)] = "steps " + ", ".join(_ranges(steps, np.sort(rows["step"].to_numpy(int))))
    return words


def _ranges(steps: np.ndarray, known: np.ndarray) -> list[str]:
    """Runs of consecutive recorded steps."""
    places = np.searchsorted(known, steps)
    groups = np.split(steps, np.flatnonzero(np.diff(places) > 1) + 1)
    return [f"{group[0]} to {group[-1]}" if len(group) > 1 else str(group[0]) for group in groups]


def _terms(run: RunView) -> dict[str, float]:
    """The recipe's terms, and their weights where these are numbers; the others are recorded, step by step."""
    terms = {}
    for term in run.recipe.get("objective", ()) if "loss" in run.metrics else ():
        weight = term.get("weight", 1.0)
        terms[str(term.get("name") or term["kind"])] = weight if isinstance(weight, int | float) else np.nan
    return terms


def _of_training(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[rows["scope"].astype(str) == "train", ["step", "value"]]
