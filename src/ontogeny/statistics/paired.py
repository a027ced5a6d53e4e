"""Before and after, paired by document: differences, their ratio, and the best of many checkpoints without its bias."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

SPLITS = 20
"""Random halvings of the documents that a choice is averaged over."""
LEAST = 4
"""Documents, below which none can choose for the others."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference with its 95% interval; NaN ends where there is one document, or a value is no number."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, uncorrected."""
    error: float
    """Standard error."""
    documents: int


def unknown(documents: int, value: float = float("nan")) -> Difference:
    """A difference without an interval."""
    nan = float("nan")
    return Difference(value=value, low=nan, high=nan, p=nan, error=nan, documents=documents)


def interval(one: Difference | dict[str, float], form: str = "+.3f") -> str:
    """Value and interval as text."""
    value, low, high = (one[key] if isinstance(one, dict) else getattr(one, key) for key in ("value", "low", "high"))
    if np.isnan(low):
        return f"{value:{form}} (no interval)"
    return f"{value:{form}} (95% {low:{form}} to {high:{form}})"


def difference(total: np.ndarray, weight: np.ndarray) -> Difference:
    """sum(total) / sum(weight) over documents, float64 [D] each, with a t interval (D - 1 degrees of freedom).

    The standard error is the jackknife's: with m_g the ratio without document g, and m their mean,
    se^2 = (D - 1) / D * sum (m_g - m)^2 (Efron and Tibshirani, "An Introduction to the Bootstrap", 11). It keeps the
    passages of a document together, and is the usual standard error of a mean where all weights are equal.
    """
    n = len(weight)
    value = float(total.sum() / weight.sum()) if n and weight.sum() > 0 else float("nan")
    if n < 2 or not np.isfinite(value):
        return unknown(n, value)
    return _by_t(value, jackknife(total, weight), n - 1, n)


def average(parts: Sequence[Difference]) -> Difference:
    """The mean of differences that rest on different documents; degrees of freedom by Welch and Satterthwaite."""
    m, documents = len(parts), sum(one.documents for one in parts)
    value, squares = float(np.mean([one.value for one in parts])), np.square([one.error / m for one in parts])
    if not np.isfinite(squares).all():
        return unknown(documents, value)
    below = sum(square**2 / (one.documents - 1) for square, one in zip(squares, parts, strict=True))
    return _by_t(value, float(np.sqrt(squares.sum())), squares.sum() ** 2 / below if below > 0 else 1.0, documents)


def _by_t(value: float, error: float, freedom: float, documents: int) -> Difference:
    from scipy.special import stdtr, stdtrit

    half = float(stdtrit(freedom, 0.975)) * error
    p = float(2 * stdtr(freedom, -abs(value) / error)) if error > 0 else float(value == 0)
    return Difference(value=value, low=value - half, high=value + half, p=p, error=error, documents=documents)


def jackknife(total: np.ndarray, weight: np.ndarray) -> float:
    """Standard error of sum(total) / sum(weight) over documents."""
    n = len(weight)
    without = (total.sum() - total) / (weight.sum() - weight)
    return float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))


def chosen_by_others(
    total: np.ndarray, weight: np.ndarray, choose: Callable[[np.ndarray], int], random: np.random.Generator
) -> np.ndarray:
    """Each document's total at the checkpoint that other documents choose: float64 [D], the mean over halvings.

    `total` [C, D], `weight` [D]; `choose` takes a mean curve [C] and gives a checkpoint, as `np.argmin` does. The half
    that a document is in never chooses for it, so that its noise cannot make its own checkpoint look best.
    """
    count = total.shape[1]
    found = np.zeros(count)
    for _ in range(SPLITS):
        first = np.zeros(count, dtype=bool)
        first[random.permutation(count)[: count // 2]] = True
        for mine in (first, ~first):
            at = choose(total[:, ~mine].sum(axis=1) / weight[~mine].sum())
            found[mine] += total[at, mine]
    return found / SPLITS


def since_best(cost: np.ndarray, weight: np.ndarray, random: np.random.Generator) -> Difference:
    """Last minus lowest checkpoint of `cost` [C, D] (sums over the items of a document; higher is worse).

    Value, p and the lower end of the interval: the lowest checkpoint is chosen by other documents. As they may choose
    another, that is too small on average where several are about as low; so the upper end is, where that is higher,
    the one of the difference from the lowest on the same documents, which is too large on average.
    """
    if cost.shape[1] < LEAST:
        return unknown(cost.shape[1])
    risen = cost[-1] - cost
    found = difference(chosen_by_others(risen, weight, lambda curve: int(curve.argmax()), random), weight)
    flattered = difference(risen[int(risen.sum(axis=1).argmax())], weight)
    return replace(found, high=max(found.high, flattered.high))


def quotient(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """sum(above) / sum(below) over documents [D], and Fieller's 95% interval; NaN unless the lower sum is surely not 0.

    The interval holds the ratios r for which sum(above - r * below) does not differ from 0 by t (Fieller 1954).
    """
    from scipy.special import stdtrit

    n = len(above)
    nan = float("nan")
    if n < 2:
        return nan, nan, nan
    a, b = float(above.mean()), float(below.mean())
    squared = float(stdtrit(n - 1, 0.975)) ** 2
    (aa, ab), (_, bb) = np.cov(above, below) * squared / n
    lead = b * b - bb
    if not lead > 0:
        return nan, nan, nan
    middle = (a * b - ab) / lead
    half = np.sqrt(max(middle**2 - (a * a - aa) / lead, 0.0))
    return a / b, float(middle - half), float(middle + half)
