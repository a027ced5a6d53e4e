"""Faults of the family `preference`: logs of DPO and of reward models."""

import numpy as np

from benchmarks.faults._clean import Synthetic, autocorrelated, schedule
from ontogeny.store.history import EVAL

Planted = tuple[Synthetic, Synthetic]
LN2 = float(np.log(2.0))


def _dpo(rng: np.random.Generator, end: float, chosen: float) -> Synthetic:
    """A DPO run whose mean margin grows to `end` and whose chosen reward goes to `chosen`.

    Margins of pairs are normal about the mean with sd 0.5 + mean / 2; loss and accuracy are those of a batch of them.
    """
    count, interval = int(rng.choice([40, 100, 200, 400])), int(rng.choice([1, 10]))
    steps = np.arange(1, count + 1) * interval
    along = 1 - np.exp(-np.linspace(0, 4, count))
    batch = int(rng.choice([16, 32, 64]))
    mean = end * along
    pairs = mean[:, None] + (0.02 + mean[:, None] / 2) * rng.normal(0, 1, (count, batch))
    made = Synthetic(series={}, noise_sd=0.05, steps_per_epoch=max(int(steps[-1] / rng.uniform(1, 3)), 1))
    made.put("loss", steps, np.logaddexp(0, -pairs).mean(axis=1))
    made.put("learning_rate", steps, schedule(rng, steps, int(steps[-1])))
    made.put("rewards/margins", steps, pairs.mean(axis=1))
    made.put("rewards/accuracies", steps, (pairs > 0).mean(axis=1))
    reward = chosen * along + autocorrelated(rng, count, 0.02 + 0.1 * abs(chosen), 0.2)
    made.put("rewards/chosen", steps, reward)
    made.put("rewards/rejected", steps, reward - pairs.mean(axis=1))
    made.put("logps/chosen", steps, -80 + 10 * reward + rng.normal(0, 8, count))
    made.decimals = 4 if rng.random() < 0.5 else None
    return made


def _healthy(rng: np.random.Generator) -> Synthetic:
    return _dpo(rng, end=rng.uniform(1.0, 2.5), chosen=rng.uniform(0.1, 0.8))


def preference_not_learned(rng: np.random.Generator) -> Planted:
    """Margins stay within 0.02 of zero after the warm-up. The twin's grow to 1 to 2.5."""
    return _dpo(rng, end=rng.uniform(-0.01, 0.02), chosen=0.0), _healthy(rng)


def preference_over_optimised(rng: np.random.Generator) -> Planted:
    """Margins of 7 to 15 with every pair told apart. The twin's grow to 1 to 2.5."""
    fault = _dpo(rng, end=rng.uniform(7, 15), chosen=rng.uniform(-1, 1))
    steps, margins = fault.get("rewards/margins")
    fault.put("rewards/accuracies", steps, np.where(margins > 3, 1.0, fault.get("rewards/accuracies")[1]))
    fault.put("loss", steps, np.where(margins > 3, np.logaddexp(0, -margins), fault.get("loss")[1]))
    return fault, _healthy(rng)


def likelihood_displacement(rng: np.random.Generator) -> Planted:
    """The chosen reward falls by 0.3 to 2 of a margin of 1 to 3. The twin's rises; its logps scatter as much."""
    return _dpo(rng, end=rng.uniform(1.0, 3.0), chosen=-rng.uniform(0.3, 2.0)), _healthy(rng)


def reward_saturated(rng: np.random.Generator) -> Planted:
    """A reward model at a loss of 0.01 to 0.08 within 0.2 to 0.8 epochs. The twin ends at 0.3 to 0.6."""
    count = int(rng.choice([20, 40, 100]))
    steps = np.arange(1, count + 1) * 10
    epochs = rng.uniform(0.2, 0.8)

    def made(end: float) -> Synthetic:
        log = Synthetic(series={}, noise_sd=0.01, steps_per_epoch=int(steps[-1] / epochs))
        fall = 1 / (1 + np.exp((np.arange(count) - 0.2 * count) / (0.05 * count)))
        log.put("loss", steps, (end + (LN2 - end) * fall) * (1 + rng.normal(0, 0.03, count)))
        log.config = {"objective": "reward modeling"}
        return log

    return made(rng.uniform(0.01, 0.08)), made(rng.uniform(0.3, 0.6))


def eval_accuracy_falls(rng: np.random.Generator) -> Planted:
    """Held-out accuracy over 200 to 1000 pairs falls from 0.75 to 0.5-0.6. The twin's scatters as binomial draws do."""
    twin = _healthy(rng)
    steps = twin.get("loss")[0]
    count, pairs = int(rng.integers(6, 16)), int(rng.choice([200, 500, 1000]))
    at = np.unique(steps[np.linspace(len(steps) // 8, len(steps) - 1, count).astype(int)])
    right = rng.uniform(0.68, 0.78)
    twin.config = {"eval_examples": pairs}
    fault = twin.copy()
    falling = right - np.linspace(0, rng.uniform(0.15, 0.25), len(at))
    fault.put("rewards/accuracies", at, rng.binomial(pairs, falling) / pairs, EVAL)
    twin.put("rewards/accuracies", at, rng.binomial(pairs, right, len(at)) / pairs, EVAL)
    return fault, twin
