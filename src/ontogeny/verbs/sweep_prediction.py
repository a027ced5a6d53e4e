"""A held-out level of a sweep: predicted from the other runs before it is run, and compared with its outcome after."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ontogeny.analyses.across.scaling import parts, predictions
from ontogeny.core.errors import OntogenyError, StoreError
from ontogeny.store import durable

PREDICTION = "prediction.json"


def predict_held_out(
    folder: Path,
    held_out: tuple[str, str],
    x: float,
    seeds: int,
    rows: pd.DataFrame,
    varied: Sequence[str],
    new: str,
    already_run: bool,
) -> None:
    """Write what the laws of the other runs predict for the level that is held out; never over an earlier prediction.

    `x`: parameters of that level, or its number; `already_run`: was any of its runs finished by then?
    """
    if (folder / PREDICTION).exists():
        return
    key, level = held_out
    try:
        against, predicted = predictions(key, x, seeds, rows, varied, new)
    except StoreError as lack:
        raise OntogenyError(f"--hold-out {key}: {lack}") from None
    content = {
        "made_unix_s": time.time(),
        "held_out": f"{key}={level}",
        "against": against,
        "from_runs": list(rows["run"]),
        "already_run": already_run,
        "predictions": predicted,
    }
    durable.write_json(folder / PREDICTION, content)


def outcome_text(folder: Path, varied: Sequence[str], rows: pd.DataFrame) -> str:
    """The prediction beside what came out; empty where nothing was predicted."""
    if not (folder / PREDICTION).exists():
        return ""
    prediction = durable.read_json(folder / PREDICTION)
    key, _, level = prediction["held_out"].partition("=")
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(prediction["made_unix_s"]))
    others = len(prediction["from_runs"])
    lines = [f"Predicted for {prediction['held_out']} on {made}, from {others} other runs:"]
    if prediction["already_run"]:
        lines.append("  runs of it were there already, so that this is no prediction")
    held_out = rows[rows[key].astype(str) == level]
    by_setting = dict(parts(held_out, [name for name in varied if name != key]))
    for entry in prediction["predictions"]:
        outcome = _outcome(entry, by_setting.get(entry["where"]))
        lines.append(f"  {entry['response']}, {entry['where']}: {outcome}")
    return "\n".join(lines)


def _outcome(entry: Mapping[str, Any], part: pd.DataFrame | None) -> str:
    if entry.get("why_not"):
        return f"no prediction: {entry['why_not']}"
    between = f"{entry['value']:.4g} (95% {entry['low']:.4g} to {entry['high']:.4g})"
    if part is None or part.empty:
        return f"{between}; not run"
    values = part[entry["response"]].to_numpy(dtype=np.float64)
    if not (values > 0).all():
        return f"{between}; it was not positive in {int((~(values > 0)).sum())} of {len(values)} seeds: outside"
    mean = float(np.exp(np.log(values).mean()))
    return f"{between}; it was {mean:.4g}, {'inside' if entry['low'] <= mean <= entry['high'] else 'outside'}"
