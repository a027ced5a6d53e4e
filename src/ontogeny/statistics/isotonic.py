"""Least-squares fits that never rise."""

import numpy as np


def non_increasing(values: np.ndarray) -> np.ndarray:
    """The closest values, by least squares, that never rise: float64 [n] (pool adjacent violators, Ayer et al. 1955).

    Neighbours that rise are replaced by their mean until none do. All NaN if one is. Weights are equal. For curves that
    can only fall for a reason outside the data; it would hide a rise that is real.
    """
    if np.isnan(values).any():
        return np.full(len(values), np.nan)
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, n = float(value), 1
        while pools and pools[-1][0] < mean:
            previous, m = pools.pop()
            mean, n = (previous * m + mean * n) / (m + n), m + n
        pools.append((mean, n))
    return np.repeat([mean for mean, _ in pools], [n for _, n in pools])
