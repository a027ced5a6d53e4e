"""Faults of the family `reinforcement`: logs of GRPO."""

import numpy as np

from benchmarks.faults._clean import Synthetic, autocorrelated, schedule

Planted = tuple[Synthetic, Synthetic]


def _grpo(rng: np.random.Generator) -> Synthetic:
    """A healthy GRPO run: rewards of groups of 8 rise from 0.1-0.3 to 0.4-0.8, and losses lie about zero."""
    count, interval = int(rng.choice([100, 250, 500, 1000])), int(rng.choice([1, 2, 10]))
    steps = np.arange(1, count + 1) * interval
    along = 1 - np.exp(-np.linspace(0, rng.uniform(1.5, 4), count))
    low, high = rng.uniform(0.1, 0.3), rng.uniform(0.4, 0.8)
    chance = np.clip(low + (high - low) * along + autocorrelated(rng, count, 0.03, 0.3), 0.01, 0.99)
    prompts = int(rng.choice([2, 8]))
    right = rng.binomial(8, chance[:, None], (count, prompts)) / 8
    made = Synthetic(series={}, noise_sd=0.1, steps_per_epoch=int(steps[-1]) * 2)
    made.put("loss", steps, np.round(rng.normal(0, 1e-4, count), 4))
    made.put("learning_rate", steps, schedule(rng, steps, int(steps[-1])))
    made.put("reward", steps, right.mean(axis=1))
    spread = np.sqrt(right * (1 - right) * 8 / 7)
    made.put("reward_std", steps, spread.mean(axis=1))
    made.put("zero_std_share", steps, (spread == 0).mean(axis=1))
    entropy = rng.uniform(0.3, 1.0)
    fall = np.linspace(0, rng.uniform(0, 1.0), count)
    made.put("entropy", steps, entropy * np.exp(autocorrelated(rng, count, 0.2, 0.5) - fall))
    made.put("kl", steps, rng.uniform(0.01, 0.1) * along * np.exp(autocorrelated(rng, count, 0.3, 0.3)) + 1e-4)
    limit = float(rng.choice([256, 512, 1024]))
    made.put("completion_length", steps, np.minimum(limit * np.exp(rng.normal(-0.6, 0.2, count)), limit))
    made.put("clipped_ratio", steps, np.clip(rng.normal(0.1, 0.05, count), 0, 1))
    return made


def reward_does_not_rise(rng: np.random.Generator) -> Planted:
    """Rewards scatter about 0.1 to 0.5, or fall, for the whole run."""
    twin = _grpo(rng)
    fault = twin.copy()
    steps = fault.get("reward")[0]
    level = rng.uniform(0.1, 0.5) - np.linspace(0, rng.choice([0.0, 0.08]), len(steps))
    fault.put("reward", steps, rng.binomial(16, np.clip(level, 0.02, 1)) / 16)
    return fault, twin


def reward_collapse(rng: np.random.Generator) -> Planted:
    """From 50 to 80% of the run on, the reward falls to between nothing and 30% of what it was."""
    twin = _grpo(rng)
    fault = twin.copy()
    steps, values = fault.get("reward")
    turn = int(len(steps) * rng.uniform(0.5, 0.8))
    left = np.maximum(1 - np.arange(len(steps) - turn) / (0.1 * len(steps)), rng.uniform(0, 0.3))
    values[turn:] = values[turn:] * left
    return fault, twin


def reward_std_zero(rng: np.random.Generator) -> Planted:
    """In 60 to 100% of the entries of the second half, all answers get no reward."""
    twin = _grpo(rng)
    fault = twin.copy()
    steps = fault.get("reward_std")[0]
    half = len(steps) // 2
    none = (np.arange(len(steps)) >= half) & (rng.random(len(steps)) < rng.uniform(0.65, 1.0))
    for name, value in (("reward_std", 0.0), ("reward", 0.0), ("zero_std_share", 1.0)):
        fault.get(name)[1][none] = value
    if rng.random() < 0.5:
        del fault.series["train", "zero_std_share"]
    return fault, twin


def entropy_collapse(rng: np.random.Generator) -> Planted:
    """Entropy falls exponentially to 0.5 to 12% of its start. The twin keeps 37% or more."""
    twin = _grpo(rng)
    fault = twin.copy()
    entropy = fault.get("entropy")[1]
    entropy *= np.exp(np.linspace(0, np.log(rng.uniform(0.005, 0.12)), len(entropy)))
    return fault, twin


def kl_blowup(rng: np.random.Generator) -> Planted:
    """KL per token rises to 2 to 100 nats over the last 40%. The twin has one spike of that size."""
    twin = _grpo(rng)
    fault = twin.copy()
    divergence, high = fault.get("kl")[1], rng.uniform(2, 100)
    count = len(divergence)
    divergence += high * np.clip((np.arange(count) / count - 0.6) / 0.3, 0, 1)
    twin.get("kl")[1][rng.integers(count)] = high
    return fault, twin


def completions_clipped(rng: np.random.Generator) -> Planted:
    """The clipped share rises to 0.6-1, or the mean length stands at its limit. The twin's stays near 0.1."""
    twin = _grpo(rng)
    fault = twin.copy()
    steps, length = fault.get("completion_length")
    count = len(steps)
    if rng.random() < 0.5:
        high = rng.uniform(0.6, 1.0) * np.clip(np.arange(count) / (0.6 * count), 0, 1)
        fault.put("clipped_ratio", steps, np.clip(high + rng.normal(0, 0.05, count), 0, 1))
    else:
        del fault.series["train", "clipped_ratio"]
        length[count // 2 :] = np.where(rng.random(count - count // 2) < 0.95, 512.0, 511.0)
        length[: count // 2] = np.minimum(length[: count // 2], 512.0)
    return fault, twin
