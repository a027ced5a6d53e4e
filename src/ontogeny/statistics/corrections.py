"""P-values of many tests together."""

import numpy as np


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values, float [n], in the order given (Benjamini and Hochberg 1995); NaN stays and is not counted.

    The i-th smallest of m becomes min over j >= i of p_j m / j. Controls the false discovery rate of tests that are
    independent or positively dependent. Where labels can be permuted, `permutations.min_p` claims less by chance.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    m = len(order)
    if m:
        scaled = p[order] * m / np.arange(1, m + 1)
        adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return adjusted


def bonferroni(p: np.ndarray, tests: int) -> np.ndarray:
    """p x tests, at most 1: valid however the tests depend on each other; any shape."""
    return np.minimum(p * tests, 1)
