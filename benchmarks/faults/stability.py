"""Faults of the family `stability`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean

Pair = tuple[Synthetic, Synthetic]


def _spike(rng: np.random.Generator, made: Synthetic, *, lasting: float) -> None:
    """30 to 150% of the level (and 12 sd) for 3 to 10 entries; afterwards `lasting` of the level remains on top."""
    _, values = made.get("loss")
    at = int(len(values) * rng.uniform(0.4, 0.6))
    level = float(np.median(values[at - 50 : at]))
    height = max(level * rng.uniform(0.3, 1.5), 12 * made.noise_sd)
    length = int(rng.integers(3, 11))
    values[at : at + length] += height * np.linspace(1, 0.5, length)
    values[at + length :] += lasting * level


def loss_spike(rng: np.random.Generator) -> Pair:
    """A spike in the middle, healed; the twin has single batches with heavy tails (Student's t, 4 degrees)."""
    twin = clean(rng, least=400)
    fault = twin.copy()
    _spike(rng, fault, lasting=0.0)
    _, benign = twin.get("loss")
    benign += np.clip(rng.standard_t(4, len(benign)), -6, 6) * 0.3 * twin.noise_sd
    return fault, twin


def unrecovered_spike(rng: np.random.Generator) -> Pair:
    """A spike after which 15 to 40% of the level remain; the twin's heals."""
    twin = clean(rng, least=400)
    fault = twin.copy()
    state = rng.bit_generator.state
    _spike(rng, twin, lasting=0.0)
    rng.bit_generator.state = state
    lasting = 0.15 + 0.25 * float(np.random.default_rng(len(twin.get("loss")[0])).random())
    _spike(rng, fault, lasting=lasting + 6 * twin.noise_sd / float(np.median(twin.get("loss")[1])))
    return fault, twin


def divergence(rng: np.random.Generator) -> Pair:
    """From 40 to 70% of the run on, the loss climbs to 1.5 to 4 times its lowest."""
    twin = clean(rng)
    fault = twin.copy()
    _, values = fault.get("loss")
    at = int(len(values) * rng.uniform(0.4, 0.7))
    factor = rng.uniform(0.5, 3.0) + 10 * fault.noise_sd / float(values[at])
    values[at:] += values[at] * factor * np.linspace(0, 1, len(values) - at)
    return fault, twin


def training_loss_rises(rng: np.random.Generator) -> Pair:
    """A steady rise by 4 to 15% of the level (and 3 sd) over the whole log; the twin is flat with the same noise."""
    twin = clean(rng, least=150, from_scratch=False)
    _, values = twin.get("loss")
    level = float(np.median(values))
    noise = values - np.polyval(np.polyfit(np.arange(len(values)), values, 5), np.arange(len(values)))
    values[:] = level + noise
    fault = twin.copy()
    rise = max(level * rng.uniform(0.04, 0.15), 3 * twin.noise_sd)
    fault.get("loss")[1][:] += rise * np.linspace(0, 1, len(values))
    return fault, twin
