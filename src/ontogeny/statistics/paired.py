"""The same documents before and after: differences, their ratio, and the best of many checkpoints without its bias."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ontogeny.statistics.documents import LEAST_DOCUMENTS, SPLITS, effective_number, reporting_halves
from ontogeny.statistics.intervals import ValueInterval, t_quantile, two_sided_p

LEAST_DEGREES = 0.5
"""Of freedom, where one document holds nearly all: fewer would give an interval no ends that can be printed."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """A mean difference with its 95% interval; NaN ends where there is one document, or a value is no number."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, uncorrected."""
    error: float
    """Standard error."""
    degrees: float
    """Of freedom of the t interval."""
    documents: int


def _without_interval(documents: int, value: float = float("nan")) -> PairedDifference:
    nan = float("nan")
    return PairedDifference(value=value, low=nan, high=nan, p=nan, error=nan, degrees=nan, documents=documents)


def interval_text(difference: PairedDifference | ValueInterval, form: str = "+.3f") -> str:
    """Value and interval, ready to print: +0.120 (95% +0.050 to +0.190)."""
    if isinstance(difference, PairedDifference):
        value, low, high = difference.value, difference.low, difference.high
    else:
        value, low, high = difference["value"], difference["low"], difference["high"]
    if np.isnan(low):
        return f"{value:{form}} (no interval)"
    return f"{value:{form}} (95% {low:{form}} to {high:{form}})"


def paired_difference(total: np.ndarray, weight: np.ndarray) -> PairedDifference:
    """sum(total) / sum(weight) over documents, float64 [D] each, with a t interval.

    `total`: the change summed over the items of each document; `weight`: what the mean is per, such as its tokens. The
    standard error is the jackknife's: with m_g the ratio without document g, and m their mean,
    se^2 = (D - 1) / D * sum (m_g - m)^2 (Efron and Tibshirani, "An Introduction to the Bootstrap", 11). It keeps the
    passages of a document together, and is the usual standard error of a mean where all weights are equal. Degrees of
    freedom: `effective_number` of documents minus 1, which is D - 1 where all weights are equal, and fewer where a few
    documents weigh most, since the error then rests on these few (coverage: docs/statistics.md). Documents without
    weight, such as those of which no token counts, are left out.
    """
    counts = weight > 0
    total, weight = total[counts], weight[counts]
    n = len(weight)
    value = float(total.sum() / weight.sum()) if n and weight.sum() > 0 else float("nan")
    if n < 2 or not np.isfinite(value):
        return _without_interval(n, value)
    return _by_t(value, jackknife_error(total, weight), max(effective_number(weight) - 1, LEAST_DEGREES), n)


def mean_of_differences(parts: Sequence[PairedDifference]) -> PairedDifference:
    """The unweighted mean of differences over disjoint documents; degrees of freedom by Welch and Satterthwaite."""
    m, documents = len(parts), sum(part.documents for part in parts)
    value, squares = float(np.mean([part.value for part in parts])), np.square([part.error / m for part in parts])
    if not np.isfinite(squares).all():
        return _without_interval(documents, value)
    below = sum(square**2 / part.degrees for square, part in zip(squares, parts, strict=True))
    return _by_t(value, float(np.sqrt(squares.sum())), squares.sum() ** 2 / below if below > 0 else 1.0, documents)


def _by_t(value: float, error: float, degrees: float, documents: int) -> PairedDifference:
    half, p = t_quantile(degrees) * error, two_sided_p(value, error, degrees)
    return PairedDifference(
        value=value, low=value - half, high=value + half, p=p, error=error, degrees=degrees, documents=documents
    )


def jackknife_error(total: np.ndarray, weight: np.ndarray) -> float:
    """Standard error of sum(total) / sum(weight) over documents, float64 [D] each."""
    n = len(weight)
    without = (total.sum() - total) / (weight.sum() - weight)
    return float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))


def chosen_by_others(
    total: np.ndarray, weight: np.ndarray, choose: Callable[[np.ndarray], int], random: np.random.Generator
) -> np.ndarray:
    """Each document's total at the checkpoint that other documents choose: float64 [D], the mean over halvings.

    `total` [C, D], `weight` [D], none of them 0; `choose` takes a mean curve [C] and gives a checkpoint, as `np.argmin`
    does. The half that a document is in never chooses for it, so that its noise cannot make its own checkpoint look
    best.
    """
    chosen = np.zeros(total.shape[1])
    for half in reporting_halves(total.shape[1], random):
        at = choose(total[:, ~half].sum(axis=1) / weight[~half].sum())
        chosen[half] += total[at, half]
    return chosen / SPLITS


def since_best(cost: np.ndarray, weight: np.ndarray, random: np.random.Generator) -> PairedDifference:
    """Last minus lowest checkpoint of `cost` [C, D] (sums over the items of a document; higher is worse).

    Value, p and the lower end of the interval: the lowest checkpoint is chosen by other documents. As they may choose
    another, that is too small on average where several are about as low. So the upper end is the larger of that
    interval's and the one of the difference from the lowest on the same documents, which is too large on average.
    Below `documents.LEAST_DOCUMENTS` documents all is NaN.
    """
    return mean_since_best([(cost, weight)], random)[1]


def mean_since_best(
    sets: Sequence[tuple[np.ndarray, np.ndarray]], random: np.random.Generator
) -> tuple[list[PairedDifference], PairedDifference]:
    """`since_best` of each of several disjoint sets of documents (cost [C, D] and weight [D]), and their mean."""
    chosen, upper_bounds = [], []
    for all_cost, all_weight in sets:
        cost, weight = all_cost[:, all_weight > 0], all_weight[all_weight > 0]
        if cost.shape[1] < LEAST_DOCUMENTS:
            chosen.append(_without_interval(cost.shape[1]))
            upper_bounds.append(chosen[-1])
            continue
        risen = cost[-1] - cost
        by_others = chosen_by_others(risen, weight, lambda curve: int(curve.argmax()), random)
        chosen.append(paired_difference(by_others, weight))
        upper_bounds.append(paired_difference(risen[int(risen.sum(axis=1).argmax())], weight))
    mean = chosen[0] if len(chosen) == 1 else mean_of_differences(chosen)
    above = upper_bounds[0] if len(chosen) == 1 else mean_of_differences(upper_bounds)
    each = [replace(low, high=max(low.high, up.high)) for low, up in zip(chosen, upper_bounds, strict=True)]
    return each, replace(mean, high=max(mean.high, above.high))


def fieller_ratio(above: np.ndarray, below: np.ndarray) -> tuple[float, float, float]:
    """sum(above) / sum(below) over documents, float64 [D] each, and Fieller's 95% interval: value, low, high.

    The interval holds the ratios r for which sum(above - r * below) does not differ from 0 by t (Fieller 1954). All NaN
    unless the lower sum is significantly different from 0; a percentile bootstrap would give an interval even then.
    """
    n, nan = len(above), float("nan")
    if n < 2:
        return nan, nan, nan
    a, b = float(above.mean()), float(below.mean())
    squared = t_quantile(n - 1) ** 2
    (aa, ab), (_, bb) = np.cov(above, below) * squared / n
    lead = b * b - bb
    if not lead > 0:
        return nan, nan, nan
    middle = (a * b - ab) / lead
    half = np.sqrt(max(middle**2 - (a * a - aa) / lead, 0.0))
    return a / b, float(middle - half), float(middle + half)
