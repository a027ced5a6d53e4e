"""Faults of the family `scale`."""

import math

import numpy as np

from benchmarks.faults._clean import Synthetic, clean
from ontogeny.store.history import EVAL

Pair = tuple[Synthetic, Synthetic]


def accumulation_not_normalised(rng: np.random.Generator) -> Pair:
    """The training loss is 2, 4, 8 or 16 times what it was; the twin is right."""
    twin = clean(rng, least=150)
    fault = twin.copy()
    count = int(rng.choice([2, 4, 8, 16]))
    fault.get("loss")[1][:] *= count
    fault.config["accumulation"] = count
    twin.config["accumulation"] = count
    return fault, twin


def evaluation_multiplied(rng: np.random.Generator) -> Pair:
    """The evaluation loss is 2 to 8 times the training loss."""
    twin = clean(rng, least=400, rho=0.0)
    steps, values = twin.get("loss")
    evaluated, _ = twin.get("loss", EVAL)
    curve = np.array([np.median(values[max(i - 5, 0) : i + 1]) for i in np.searchsorted(steps, evaluated)])
    twin.put("loss", evaluated, curve, EVAL)
    fault = twin.copy()
    fault.get("loss", EVAL)[1][:] *= int(rng.integers(2, 9))
    return fault, twin


def train_eval_scale_differs(rng: np.random.Generator) -> Pair:
    """The evaluation loss is 2.6 to 5 times the training loss or a third of it, throughout."""
    twin = clean(rng, least=400, rho=0.0)
    steps, values = twin.get("loss")
    evaluated, _ = twin.get("loss", EVAL)
    curve = np.array([np.median(values[max(i - 5, 0) : i + 1]) for i in np.searchsorted(steps, evaluated)])
    twin.put("loss", evaluated, curve, EVAL)
    fault = twin.copy()
    fault.get("loss", EVAL)[1][:] *= rng.choice([0.3, 2.6, 3.4, 5.3])
    return fault, twin


def broken_start(rng: np.random.Generator) -> Pair:
    """A pretrained model that starts near ln(vocabulary) or above and stays above 4.5; the twin starts below 4."""
    twin = clean(rng, from_scratch=False)
    twin.config["pretrained"] = True
    fault = twin.copy()
    _, values = fault.get("loss")
    values[:] = 5 + rng.uniform(5, 8) * np.exp(-np.arange(len(values)) / len(values) * 4) + (values - values.mean()) / 8
    return fault, twin


def collapsed_loss(rng: np.random.Generator) -> Pair:
    """From above 2 nats to 0.001-0.02 within a fifth of the first epoch; the twin is an ordinary fine-tune."""
    twin = clean(rng, least=150, from_scratch=False)
    steps, values = twin.get("loss")
    values += 0.5
    twin.steps_per_epoch = int(steps[-1] / rng.uniform(1.0, 2.0))
    fault = twin.copy()
    along = steps / fault.steps_per_epoch
    floor = 10 ** rng.uniform(-3, -1.8)
    fall = np.exp(-along / rng.uniform(0.02, 0.06))
    fault.put("loss", steps, (values[0] + 1) * fall + floor * np.exp(rng.normal(0, 0.3, len(steps))))
    return fault, twin


def stuck_at_uniform(rng: np.random.Generator) -> Pair:
    """The loss stays within 0.3% of ln(vocabulary); the twin leaves it after the first 3%."""
    twin = clean(rng, from_scratch=True)
    fault = twin.copy()
    steps, values = fault.get("loss")
    level = math.log(twin.config["vocabulary_size"])
    values[:] = level * (1 + 0.001 * rng.normal(size=len(values)))
    twin.get("loss")[1][: max(len(steps) // 30, 1)] = level
    return fault, twin


def saturated_perplexity(rng: np.random.Generator) -> Pair:
    """Perplexities of a loss clamped at 20; the twin's are exp of the loss."""
    twin = clean(rng)
    evaluated, values = twin.get("loss", EVAL)
    twin.put("perplexity", evaluated, np.exp(values), EVAL)
    fault = twin.copy()
    fault.put("perplexity", evaluated, np.exp(np.minimum(values + rng.uniform(20, 40), 20)), EVAL)
    return fault, twin


def perplexity_disagrees(rng: np.random.Generator) -> Pair:
    """Perplexity of a loss with 0.4 to 1.5 nats more (smoothing, another term); the twin's is a mean over batches."""
    twin = clean(rng)
    twin.decimals = None
    evaluated, values = twin.get("loss", EVAL)
    twin.put("perplexity", evaluated, np.exp(values) * rng.uniform(1.0, 1.06), EVAL)
    fault = twin.copy()
    fault.put("perplexity", evaluated, np.exp(values + rng.uniform(0.4, 1.5)), EVAL)
    return fault, twin
