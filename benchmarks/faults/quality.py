"""Faults of the family `quality`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean
from ontogeny.store.history import EVAL

Planted = tuple[Synthetic, Synthetic]


def _base(rng: np.random.Generator, least: int = 10) -> tuple[Synthetic, np.ndarray, np.ndarray]:
    """A healthy run with at least so many evaluations, their steps, and a quality that rises with learning."""
    made = clean(rng, least=150)
    while len(made.get("loss", EVAL)[0]) < least:
        made = clean(rng, least=150)
    steps, loss = made.get("loss", EVAL)
    learned = (loss[0] - loss) / max(loss[0] - loss.min(), 1e-9)
    level = rng.uniform(15, 45)
    return made, steps, level * (1 + rng.uniform(0.1, 0.4) * learned)


def _noisy(rng: np.random.Generator, quality: np.ndarray, relative: float) -> np.ndarray:
    return np.round(quality * (1 + rng.normal(0, relative, len(quality))), 4)


def _turned(rng: np.random.Generator, steps: np.ndarray, loss: np.ndarray) -> tuple[int, np.ndarray]:
    """Where an evaluation loss turns, and the loss with 2 to 20% of climb after it."""
    turn = int(len(steps) * rng.uniform(0.4, 0.6))
    climbed = loss.copy()
    climbed[turn:] = loss[turn] * (1 + np.linspace(0, 1, len(steps) - turn) * rng.uniform(0.02, 0.2))
    return turn, climbed


def loss_up_quality_up(rng: np.random.Generator) -> Planted:
    """The loss turns half-way; ROUGE goes on by 5 to 20%. The twin's ROUGE stays where it was at the turn."""
    fault, steps, rising = _base(rng, least=12)
    turn, loss = _turned(rng, steps, fault.get("loss", EVAL)[1])
    fault.put("loss", steps, loss, EVAL)
    twin = fault.copy()
    flat = np.concatenate([rising[:turn], np.full(len(steps) - turn, rising[turn - 1])])
    further = np.concatenate([np.zeros(turn), np.linspace(0, 1, len(steps) - turn)]) * rng.uniform(0.05, 0.2)
    noise = rng.uniform(0.002, 0.01)
    fault.put("rouge1", steps, _noisy(rng, flat * (1 + further), noise), EVAL)
    twin.put("rouge1", steps, _noisy(rng, flat, noise), EVAL)
    return fault, twin


def loss_down_quality_down(rng: np.random.Generator) -> Planted:
    """The loss falls all the way; BLEU turns half-way and loses 10 to 40%. The twin's BLEU rises with learning."""
    twin, steps, rising = _base(rng, least=14)
    loss = twin.get("loss", EVAL)[1]
    falling = np.linspace(0, rng.uniform(0.05, 0.15), len(steps)) * loss[0]
    twin.put("loss", steps, loss - falling, EVAL)
    fault = twin.copy()
    turn = int(len(steps) * rng.uniform(0.3, 0.5))
    lost = np.concatenate([np.zeros(turn), np.linspace(0, 1, len(steps) - turn)]) * rng.uniform(0.1, 0.4)
    noise = rng.uniform(0.002, 0.015)
    fault.put("bleu", steps, _noisy(rng, rising * (1 - lost), noise), EVAL)
    twin.put("bleu", steps, _noisy(rng, rising, noise), EVAL)
    return fault, twin


def broken_metric(rng: np.random.Generator) -> Planted:
    """A metric stays at one value, or is another one's copy. The twin's rougeL and rougeLsum agree, as they may."""
    twin, steps, rising = _base(rng)
    twin.put("rouge1", steps, _noisy(rng, rising, 0.005), EVAL)
    twin.put("rougel", steps, _noisy(rng, rising * 0.8, 0.005), EVAL)
    twin.put("rougelsum", steps, twin.get("rougel", EVAL)[1], EVAL)
    fault = twin.copy()
    stuck = [np.zeros(len(steps)), np.full(len(steps), 12.5), fault.get("rouge1", EVAL)[1]][rng.integers(3)]
    fault.put("bleu", steps, stuck, EVAL)
    return fault, twin


def flat_quality(rng: np.random.Generator) -> Planted:
    """ROUGE stays within its noise of at most 0.8% while the loss falls. The twin's rises by 10 to 40%."""
    twin, steps, rising = _base(rng)
    loss = twin.get("loss", EVAL)[1]
    twin.put("loss", steps, loss - np.linspace(0, 0.1, len(steps)) * loss[0], EVAL)
    fault = twin.copy()
    fault.put("rouge1", steps, _noisy(rng, np.full(len(steps), rising[0]), rng.uniform(0.001, 0.008)), EVAL)
    steady = rising[0] * (1 + np.linspace(0, rng.uniform(0.1, 0.4), len(steps)))
    twin.put("rouge1", steps, _noisy(rng, steady, rng.uniform(0.001, 0.008)), EVAL)
    return fault, twin


def generation_truncated(rng: np.random.Generator) -> Planted:
    """Every text has the limit's length, up to one in thousand. The twin's lengths vary by 1 to 10%."""
    twin, steps, rising = _base(rng)
    twin.put("rouge1", steps, _noisy(rng, rising, 0.005), EVAL)
    fault = twin.copy()
    limit = float(rng.choice([20, 64, 128, 142])) - rng.integers(2)
    cut = np.where(rng.random(len(steps)) < 0.2, limit * (1 - rng.uniform(0, 0.001)), limit)
    fault.put("gen_len", steps, np.round(cut, 4), EVAL)
    lengths = limit * 0.7 * (1 + rng.normal(0, rng.uniform(0.01, 0.1), len(steps)))
    twin.put("gen_len", steps, np.round(lengths, 4), EVAL)
    return fault, twin


def repetition_collapse(rng: np.random.Generator) -> Planted:
    """Repetition climbs from 0.02-0.15 to 0.45-0.9 over the last half. The twin starts repetitive and recovers."""
    twin, steps, _ = _base(rng, least=12)
    fault = twin.copy()
    count = len(steps)
    low, high = rng.uniform(0.02, 0.15), rng.uniform(0.45, 0.9)
    climb = np.clip((np.arange(count) / count - rng.uniform(0.4, 0.6)) / 0.2, 0, 1)
    noise = rng.normal(0, 0.02, count)
    if rng.random() < 0.5:
        fault.put("generation/repetition_4gram", steps, np.clip(low + (high - low) * climb + noise, 0, 1), EVAL)
        fault.put("generation/reference_repetition_4gram", steps, np.full(count, low / 2), EVAL)
    else:
        fault.put("generation/distinct_2", steps, np.clip(0.9 - 0.7 * climb + noise, 0, 1), EVAL)
    recovery = np.clip(1 - np.arange(count) / (0.4 * count), 0, 1)
    twin.put("generation/repetition_4gram", steps, np.clip(low + 0.8 * recovery + noise, 0, 1), EVAL)
    twin.put("generation/distinct_2", steps, np.clip(0.85 - 0.6 * recovery + noise, 0, 1), EVAL)
    return fault, twin
