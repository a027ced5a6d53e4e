"""Differences over seeds and documents at once, where every seed was judged on every document."""

from dataclasses import dataclass

import numpy as np

from ontogeny.statistics.documents import effective_number
from ontogeny.statistics.intervals import t_quantile, two_sided_p
from ontogeny.statistics.paired import LEAST_DEGREES, jackknife_error


@dataclass(frozen=True, kw_only=True)
class CrossedDifference:
    """A mean difference with its 95% interval, for new seeds and new documents; NaN ends where there is none."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, uncorrected."""
    seed_error: float
    """Standard error over seeds alone."""
    document_error: float
    """Standard error over documents alone."""
    degrees: float
    """Of freedom of the t interval."""
    seeds: int
    documents: int


MOST_DEGREES = 1.5
"""Times the fewer of S - 1 and D - 1: the degrees of freedom are not taken for more. The degrees leap up where a
variance with few of its own happens to come out small, and far in the tail, where corrected p-values lie, p was half of
what it should be (docs/statistics.md)."""
_ROUNDING = 1e-7
"""Nats: single precision."""


def crossed_difference(total: np.ndarray, weight: np.ndarray, *, beside_a_lone_run: bool = False) -> CrossedDifference:
    """sum(total) / (S x sum(weight)), where each of S seeds was judged on the same D documents.

    `total` float64 [S, D]: the difference of a seed, summed over the items of a document; `weight` float64 [D]: what
    the mean is per, such as its tokens. `beside_a_lone_run`: what the seeds are compared with is one run, whose own
    seed counts for as much as one of theirs, so that se_S^2 is sd^2 (1 / S + 1). Seeds and documents are both drawn:
    the interval is for other seeds of the same training, judged on other documents. Squared standard errors add up,

        se^2 = se_S^2 + se_D^2,  degrees of freedom = se^4 / (se_S^4 / (S - 1) + se_D^4 / (D' - 1)),

    at most `MOST_DEGREES` (min(S, D') - 1),

    with se_S that of the seeds' means, sd / sqrt(S), se_D the jackknife's over documents of the mean over seeds, and D'
    the effective number of documents: the square of value / se is min F' (Clark 1973, "The language-as-fixed-effect
    fallacy"), by 1 / min F' = 1 / F_S + 1 / F_D. What a seed and a document have to themselves counts in both, so the
    interval is a little too wide where that is large. Below two seeds or two documents there is none (NaN). An interval
    over seeds alone takes the documents for all that there are, one over documents alone the seed.
    """
    counts = weight > 0
    total, weight = total[:, counts], weight[counts]
    seeds, documents = total.shape
    nan = float("nan")
    value = float(total.sum() / (seeds * weight.sum())) if total.size else nan
    if min(seeds, documents) < 2 or not np.isfinite(value):
        ends = {"low": nan, "high": nan, "p": nan, "seed_error": nan, "document_error": nan, "degrees": nan}
        return CrossedDifference(value=value, seeds=seeds, documents=documents, **ends)
    by_seed = total.sum(axis=1) / weight.sum()
    seed_error = float(by_seed.std(ddof=1) * np.sqrt(1 / seeds + beside_a_lone_run))
    document_error = jackknife_error(total.mean(axis=0), weight)
    squares = np.array([seed_error**2, document_error**2])
    freedom = np.array([seeds - 1, max(effective_number(weight) - 1, LEAST_DEGREES)])
    error, below = max(float(np.sqrt(squares.sum())), _ROUNDING), float((squares**2 / freedom).sum())
    most = MOST_DEGREES * float(freedom.min())
    degrees = min(float(squares.sum() ** 2 / below), most) if below > 0 else most
    half = t_quantile(degrees) * error
    return CrossedDifference(
        value=value,
        low=value - half,
        high=value + half,
        p=two_sided_p(value, error, degrees),
        seed_error=seed_error,
        document_error=document_error,
        degrees=degrees,
        seeds=seeds,
        documents=documents,
    )
