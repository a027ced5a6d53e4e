"""Faults of the family `numerics`."""

import numpy as np

from benchmarks.faults._clean import Synthetic, clean

Pair = tuple[Synthetic, Synthetic]


def nan_loss(rng: np.random.Generator) -> Pair:
    """NaN from 10 to 90% of the run on; the twin has one NaN of a loss scaler in its first entries."""
    twin = clean(rng)
    fault = twin.copy()
    _steps, values = fault.get("loss")
    values[int(len(values) * rng.uniform(0.1, 0.9)) :] = np.nan
    twin.get("loss")[1][0] = np.nan
    return fault, twin


def hidden_nan(rng: np.random.Generator) -> Pair:
    """A tenth of the gradient norms are NaN, the loss is finite; the twin overflows once, at first."""
    twin = clean(rng)
    fault = twin.copy()
    _, norm = fault.get("grad_norm")
    late = np.arange(len(norm) // 10, len(norm))
    norm[rng.choice(late, max(len(late) // 10, 4), replace=False)] = np.nan
    twin.get("grad_norm")[1][0] = np.inf
    return fault, twin


def zero_loss(rng: np.random.Generator) -> Pair:
    """Exactly 0 from 20 to 80% of the run on; the twin comes down to 0.0001 gradually."""
    twin = clean(rng)
    fault = twin.copy()
    _, values = fault.get("loss")
    values[int(len(values) * rng.uniform(0.2, 0.8)) :] = 0.0
    _, benign = twin.get("loss")
    benign *= np.linspace(1, 1e-4, len(benign)) ** 2
    return fault, twin


def masked_labels(rng: np.random.Generator) -> Pair:
    """0 from the first entry on."""
    twin = clean(rng)
    fault = twin.copy()
    fault.get("loss")[1][:] = 0.0
    return fault, twin


def vanished_gradient(rng: np.random.Generator) -> Pair:
    """Gradient norms of 1e-12 from 30 to 80% of the run on."""
    twin = clean(rng)
    fault = twin.copy()
    _, norm = fault.get("grad_norm")
    norm[int(len(norm) * rng.uniform(0.3, 0.8)) :] = 1e-12
    return fault, twin


def exploding_gradient(rng: np.random.Generator) -> Pair:
    """2 to 6 norms of 200 to 10,000 times the others; the twin's first norms are 20 times as high, one is 15 times."""
    twin = clean(rng)
    fault = twin.copy()
    _, norm = fault.get("grad_norm")
    late = np.arange(len(norm) // 4, len(norm))
    chosen = rng.choice(late, int(rng.integers(2, 7)), replace=False)
    norm[chosen] = np.maximum(norm[chosen], 0.2) * 10 ** rng.uniform(2.5, 4, len(chosen))
    _, benign = twin.get("grad_norm")
    benign[:2] *= 20
    benign[rng.choice(late)] *= 15
    return fault, twin


def gradient_always_clipped(rng: np.random.Generator) -> Pair:
    """A threshold of a tenth of the smallest norm; the twin's is its 70% quantile."""
    twin = clean(rng)
    fault = twin.copy()
    _, norm = fault.get("grad_norm")
    fault.config["max_grad_norm"] = float(norm.min() / 10)
    twin.config["max_grad_norm"] = float(np.quantile(norm, 0.7))
    return fault, twin
