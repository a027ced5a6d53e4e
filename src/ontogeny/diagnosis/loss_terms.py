"""The terms of a composite loss in a log, their weights, and whether they add up to the total."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ontogeny.diagnosis.view import View
from ontogeny.store.history import Series

LIKELIHOODS = ("lm", "ce", "nll", "cross_entropy", "hard", "task", "student")
"""Names of terms that are the negative log-likelihood of the text."""
_ALIASES = {"attn": "attention", "ce": "lm", "hidden": "feature", "distill": "kd"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Terms:
    """The terms of a loss by name, and the weights of those whose weights are known."""

    series: Mapping[str, Series]
    steps: np.ndarray
    """int64 [m]: steps at which weights were printed; each holds until the next."""
    weights: Mapping[str, np.ndarray]
    """float64 [m] by term. A likelihood's weight that is not printed is 1 minus that of KD."""
    supposed: frozenset[str]
    """Terms whose weights were not printed but inferred from that of KD."""

    def weight(self, name: str, steps: np.ndarray) -> np.ndarray:
        """The weight of a term at each step: the last printed at or before it, else the first. float64 [n]."""
        at = np.clip(np.searchsorted(self.steps, steps, side="right") - 1, 0, None)
        return self.weights[name][at]


def terms_of(view: View) -> Terms:
    """Terms of the training loss with their weights, matched by name: `feat` is the weight of `routing_feature`."""
    series = {name: term for name, term in view.named("term/").items() if len(term)}
    likelihood = view.get("lm_loss")
    if likelihood is not None:
        series.setdefault("lm", likelihood)
    printed = sorted(view.config.get("term_weights") or (), key=lambda pair: pair[0])
    steps = np.array([step for step, _ in printed], dtype=np.int64)
    weights: dict[str, np.ndarray] = {}
    for key in dict.fromkeys(key for _, by_key in printed for key in by_key):
        values = np.array([by_key.get(key, math.nan) for _, by_key in printed], dtype=np.float64)
        for name in _terms_meant(key, series):
            weights.setdefault(name, values)
    supposed = set()
    if "kd" in weights and np.all((weights["kd"] > 0) & (weights["kd"] < 1)):
        for name in LIKELIHOODS:
            if name in series and name not in weights:
                weights[name] = 1 - weights["kd"]
                supposed.add(name)
    return Terms(series=series, steps=steps, weights=weights, supposed=frozenset(supposed))


def _terms_meant(key: str, series: Mapping[str, Series]) -> list[str]:
    """Terms that the key of a weight refers to: by name, by an alias, or as the beginning of a word in their name."""
    meant = {key, _ALIASES.get(key, key)}
    if exact := [name for name in series if name in meant]:
        return exact
    return [name for name in series if len(key) > 1 and any(word.startswith(tuple(meant)) for word in name.split("_"))]


def aligned(*all_series: Series) -> tuple[np.ndarray, list[np.ndarray]]:
    """Steps common to all series, and their values there; of a step that occurs twice, the last value."""
    steps = all_series[0].steps
    for other in all_series[1:]:
        steps = np.intersect1d(steps, other.steps)
    return steps, [series.values[np.searchsorted(series.steps, steps, side="right") - 1] for series in all_series]


def weight_of(terms: Terms, term: Series, steps: np.ndarray) -> np.ndarray:
    """The weight of a term at each step; 1 if it is not known. float64 [n]."""
    name = term.name.removeprefix("term/")
    return terms.weight(name, steps) if name in terms.weights else np.ones(len(steps))


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """Total, sum of parts, and range of the sum of weights x parts, at their common steps. float64 [n] each."""

    steps: np.ndarray
    total: np.ndarray
    plain: np.ndarray
    """Sum of the parts as printed."""
    low: np.ndarray
    """Least sum of weights x parts; unknown weights lie between 0 and 1."""
    high: np.ndarray
    tolerance: np.ndarray

    @property
    def plain_fits(self) -> np.ndarray:
        """bool [n]: the parts as printed add up to the total."""
        return np.abs(self.plain - self.total) <= self.tolerance

    @property
    def weighted_fits(self) -> np.ndarray:
        """bool [n]: weights x parts can add up to the total."""
        return (self.total >= self.low - self.tolerance) & (self.total <= self.high + self.tolerance)


def sums_of(view: View, terms: Terms) -> Sums | None:
    """The sums; None without a total or with fewer than two terms."""
    total = view.get("total_loss") or view.loss
    if total is None or len(terms.series) < 2:
        return None
    names = list(terms.series)
    steps, (whole, *parts) = aligned(total, *terms.series.values())
    plain, low, high = np.zeros(len(steps)), np.zeros(len(steps)), np.zeros(len(steps))
    for name, part in zip(names, parts, strict=True):
        plain += part
        is_known = name in terms.weights and name not in terms.supposed
        weight = np.nan_to_num(terms.weight(name, steps)) if is_known else np.full(len(steps), np.nan)
        low += np.where(np.isnan(weight), np.minimum(part, 0), weight * part)
        high += np.where(np.isnan(weight), np.maximum(part, 0), weight * part)
    rounding = sum(series.step_size for series in (total, *terms.series.values()))
    keep = np.isfinite(whole + plain)
    tolerance = rounding + 1e-3 * np.abs(whole)
    return Sums(
        steps=steps[keep],
        total=whole[keep],
        plain=plain[keep],
        low=low[keep],
        high=high[keep],
        tolerance=tolerance[keep],
    )


def already_weighted(view: View, terms: Terms) -> bool:
    """Do the printed parts add up to the total without their weights, although these are not 1?"""
    sums = sums_of(view, terms) if terms.weights else None
    if sums is None or not len(sums.steps):
        return False
    return bool(sums.plain_fits.all() and not sums.weighted_fits.any())
