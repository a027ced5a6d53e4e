"""Bands that hold many means at once, such as those of a curve in every layer and at every checkpoint."""

from typing import NamedTuple

import numpy as np

from ontogeny.statistics.intervals import DRAWS


class SimultaneousBand(NamedTuple):
    """Means with a band, float64 [...] each."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def simultaneous_band(values: np.ndarray, random: np.random.Generator, draws: int = DRAWS) -> SimultaneousBand:
    """Means over documents and a 95% band that holds all of them at once; `values` float [documents, ...] without NaN.

    Mean +- c x standard error. c is the 95% quantile, over draws, of the largest |t| of all means, each draw giving
    every document's deviations from the means a sign of its own (wild bootstrap, Mammen 1993), with the standard error
    of the draw. So it accounts for how the means go together, which Bonferroni would not. A mean that does not vary has
    a band of no width. Assumes deviations about as large above as below.
    """
    n = len(values)
    flat = values.reshape(n, -1)
    mean = flat.mean(axis=0)
    deviations = flat - mean
    squares = np.square(deviations).sum(axis=0)
    varies = squares > 1e-24 * n * (1 + np.square(mean))
    error = np.sqrt(np.where(varies, squares, 0) / (n * (n - 1)))
    largest = np.zeros(draws)
    if varies.any():
        kept, about = deviations[:, varies], squares[varies]
        for start in range(0, draws, 200):  # in pieces of bounded memory
            signs = random.choice([-1.0, 1.0], (min(200, draws - start), n))
            means = signs @ kept / n
            errors = np.sqrt(np.maximum(about - n * means**2, 1e-12 * about) / (n * (n - 1)))
            largest[start : start + len(signs)] = np.abs(means / errors).max(axis=1)
    half = np.quantile(largest, 0.95) * error
    shape = values.shape[1:]
    return SimultaneousBand(mean.reshape(shape), (mean - half).reshape(shape), (mean + half).reshape(shape))
