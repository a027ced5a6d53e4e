"""Logs for the command line: a healthy run and one that overfits, worked so that no chance is left in them."""

import json
import math
from pathlib import Path

import numpy as np


def trainer_state(path: Path, *, overfits: bool = False, steps: int = 1000) -> Path:
    """A Trainer's history: loss every 10 steps, falling from 4 to about 2 with noise of 0.03, and 10 evaluations.

    The evaluation loss follows it, 0.1 above; if it overfits, it turns at a third and rises to 4.
    """
    noise = np.random.default_rng(0).normal(0, 0.03, steps + 1)
    entries = []
    for step in range(10, steps + 1, 10):
        loss = 2 + 2 * math.exp(-step / (steps / 4)) + noise[step]
        rate = 1e-3 * min(step / 100, 1) * (1 - step / (steps + 1))
        place = {"step": step, "epoch": step / steps * 2}
        entries.append({"loss": round(loss, 4), "learning_rate": rate, "grad_norm": 1 + noise[step], **place})
        if step % (steps // 10) == 0:
            evaluation = 2.1 + 2 * math.exp(-step / (steps / 4))
            if overfits and step > steps / 3:
                evaluation += 2 * (step / steps - 1 / 3)
            entries.append({"eval_loss": round(evaluation, 4), **place})
    path.write_text(
        json.dumps({"global_step": steps, "max_steps": steps, "num_train_epochs": 2, "log_history": entries})
    )
    return path
