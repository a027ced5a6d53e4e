"""Tests that permute what chance could have drawn otherwise: labels, signs, blocks of a series."""

import numpy as np

from ontogeny.statistics.autocorrelation import geyer_time
from ontogeny.statistics.intervals import DRAWS
from ontogeny.statistics.two_samples import welch_p_by_labels, welch_p_by_signs

TIE = 1e-12
"""Statistics that differ by rounding alone count as equal."""
_BLOCK_DRAWS = 400


def permutation_p(observed: np.ndarray | float, drawn: np.ndarray) -> np.ndarray:
    """(1 + draws that reach the observed value) / (1 + draws), for each observed value (any shape); `drawn` [draws].

    The observed arrangement counts as one of the draws, so that p is never 0 (Davison and Hinkley 1997, 4.2).
    """
    reached = drawn >= np.asarray(observed)[..., None] - TIE
    return np.asarray((1 + reached.sum(axis=-1)) / (1 + len(drawn)))


def min_p(values: np.ndarray, label: np.ndarray, random: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Corrected p of each row's difference between two groups (Westfall and Young 1993): float64 [rows].

    `values` [rows, documents] without NaN, `label` bool [documents]. An observed p (Welch's, which stands groups that
    vary to different degrees) is compared with the smallest p over all rows of each draw, so any corrected p below 0.05
    comes in 5% of families without an effect, however rows correlate. Draws are made in two ways, and the larger p
    counts: by permuting labels, which is exact where both groups vary alike; and by signs of the deviations from the
    groups' means, where a small group may vary more. Not for paired documents (`max_t_of_signs`).
    """
    observed = welch_p_by_labels(values, label[None])[0]
    by_labels, by_signs = np.empty(draws), np.empty(draws)
    for start in range(0, draws, 200):  # in pieces of bounded memory
        piece = slice(start, min(start + 200, draws))
        labels = np.array([random.permutation(label) for _ in range(piece.stop - start)])
        signs = random.choice([-1.0, 1.0], labels.shape)
        by_labels[piece] = welch_p_by_labels(values, labels).min(axis=1)
        by_signs[piece] = welch_p_by_signs(values, label, signs).min(axis=1)
    return np.maximum(permutation_p(-observed, -by_labels), permutation_p(-observed, -by_signs))


def max_t_of_signs(differences: np.ndarray, random: np.random.Generator, draws: int = DRAWS) -> np.ndarray:
    """Corrected p that each row's paired differences have mean 0, by flipping the signs of whole documents: [rows].

    `differences` [rows, documents] without NaN. An observed one-sample |t| is
    compared with the largest one over all rows of each draw. Valid where differences are
    symmetric about 0 if there is no effect.
    """
    n = differences.shape[1]
    flips = random.choice([-1.0, 1.0], (draws, n))
    observed = np.abs(_one_sample_t(differences, np.ones((1, n))))[0]
    return permutation_p(observed, np.abs(_one_sample_t(differences, flips)).max(axis=1))


def _one_sample_t(differences: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Mean over standard error of each row of differences [rows, n], times signs [draws, n]: [draws, rows].

    Signs leave the squares as they are: n (n - 1) SE^2 = sum d^2 - n mean^2. Where nothing varies: 0 if nothing
    differs, else infinite.
    """
    n = differences.shape[1]
    mean = signs @ differences.T / n
    squares = (differences**2).sum(axis=1)
    about_mean = squares - n * mean**2
    varies = about_mean > 1e-12 * squares
    error = np.sqrt(np.where(varies, about_mean, 1.0) / (n * (n - 1)))
    return np.where(varies, mean / error, np.where(mean == 0, 0.0, np.inf))


def block_permutation(values: np.ndarray, at: int, block: int | None = None) -> float:
    """P of a difference in means of a series before and after index `at`, by permuting blocks of neighbours.

    Blocks keep the autocorrelation inside them; by default they are twice as long as its time (`geyer_time`), estimated
    on each side separately, since the difference under test would look like autocorrelation. Two-sided, with the
    observed arrangement counted: (1 + exceedances) / (1 + 400). 1 where fewer than 4 blocks stand on a side. Draws from
    a fixed seed, so it is a pure function.
    """
    longest = max(geyer_time(values[:at]), geyer_time(values[at:]))
    size = block or max(int(2 * longest), 1)
    means = values[: len(values) // size * size].reshape(-1, size).mean(axis=1)
    split = at // size
    if split < 4 or len(means) - split < 4:
        return 1.0
    observed = abs(means[split:].mean() - means[:split].mean())
    random = np.random.default_rng(0)
    drawn = np.array([random.permutation(means) for _ in range(_BLOCK_DRAWS)])
    differences = np.abs(drawn[:, split:].mean(axis=1) - drawn[:, :split].mean(axis=1))
    return float((1 + np.sum(differences >= observed * (1 - TIE))) / (1 + _BLOCK_DRAWS))
