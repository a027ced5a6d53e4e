"""Faults of the family `composite`: distillations with a curriculum of weights."""

import numpy as np

from benchmarks.faults._clean import Synthetic, schedule
from ontogeny.store.history import EVAL

Planted = tuple[Synthetic, Synthetic]


def _distillation(rng: np.random.Generator, kd_scale: float = 1.0) -> Synthetic:
    """0.5-0.9 x KD + the rest x likelihood + a feature term that a curriculum turns on half-way, all of it printed."""
    count, interval = int(rng.choice([20, 60, 200])), int(rng.choice([10, 100]))
    steps = np.arange(1, count + 1) * interval
    curve = 1 / np.sqrt(1 + 10 * np.linspace(0, 1, count))

    def term(level: float) -> np.ndarray:
        return np.asarray(level * (0.4 + 0.6 * curve) * np.exp(rng.normal(0, 0.03, count)))

    parts = {"kd": term(rng.uniform(3, 30) * kd_scale), "lm": term(rng.uniform(3, 9)), "feature": term(0.5)}
    weight = rng.uniform(0.5, 0.9)
    ramp = np.where(np.arange(count) < count // 2, 0.0, 0.1)
    made = Synthetic(series={}, noise_sd=0.1, steps_per_epoch=int(steps[-1]))
    for name, values in parts.items():
        made.put(f"term/{name}", steps, np.round(values, 4))
    total = weight * parts["kd"] + (1 - weight) * parts["lm"] + ramp * parts["feature"]
    made.put("loss", steps, np.round(total, 4))
    made.put("learning_rate", steps, schedule(rng, steps, int(steps[-1])))
    made.config = {
        "term_weights": [
            (int(step), {"kd": weight, "lm": 1 - weight, "feat": float(own)})
            for step, own in zip(steps, ramp, strict=True)
        ]
    }
    index = np.arange(count // 6, count, max(count // 6, 1))
    made.put("loss", steps[index], total[index] * (1.03 + rng.normal(0, 0.01, len(index))), EVAL)
    return made


def kd_out_of_scale(rng: np.random.Generator) -> Planted:
    """KD is summed over 128 to 1024 positions, or averaged over 32,000 entries of the vocabulary."""
    scale = float(rng.choice([128, 512, 1024, 1 / 32000]))
    return _distillation(rng, kd_scale=scale), _distillation(rng)


def parts_do_not_sum(rng: np.random.Generator) -> Planted:
    """Parts are printed after their weights, or a term of 2 to 20% of the total is missing from what is printed."""
    twin = _distillation(rng)
    fault = twin.copy()
    steps, total = fault.get("loss")
    if rng.random() < 0.5:
        for key, own in (("kd", "kd"), ("lm", "lm"), ("feature", "feat")):
            weights = np.array([printed[own] for _, printed in fault.config["term_weights"]])
            fault.put(f"term/{key}", steps, np.round(fault.get(f"term/{key}")[1] * weights, 4))
    else:
        fault.put("loss", steps, np.round(total * (1 + rng.uniform(0.02, 0.2) * rng.uniform(0.8, 1, len(total))), 4))
    return fault, twin


def train_eval_weights_differ(rng: np.random.Generator) -> Planted:
    """Evaluation counts terms that training does not: 1.4 to 2.5 times the training loss."""
    twin = _distillation(rng)
    fault = twin.copy()
    steps, values = fault.get("loss", EVAL)
    fault.put("loss", steps, values * rng.uniform(1.4, 2.5), EVAL)
    return fault, twin


def constant_term(rng: np.random.Generator) -> Planted:
    """A term with weight stays at one value, at 1e9, or is NaN. The twin's has weight 0, where it may."""
    twin = _distillation(rng)
    fault = twin.copy()
    steps = fault.get("loss")[0]
    stuck = float(rng.choice([0.0, 0.693, 1e9, np.nan]))
    fault.put("term/kd", steps, np.full(len(steps), stuck))
    twin.put("term/feature", steps, np.full(len(steps), 0.0))
    twin.config["term_weights"] = [(step, {**own, "feat": 0.0}) for step, own in twin.config["term_weights"]]
    return fault, twin


def zero_weight_term(rng: np.random.Generator) -> Planted:
    """The curriculum never turns the feature term on. The twin's does half-way."""
    twin = _distillation(rng)
    fault = twin.copy()
    fault.config["term_weights"] = [(step, {**own, "feat": 0.0}) for step, own in fault.config["term_weights"]]
    return fault, twin
