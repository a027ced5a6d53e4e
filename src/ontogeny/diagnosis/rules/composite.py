"""Losses made of weighted terms: whether the terms, their weights, the total and the evaluation fit together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ontogeny.diagnosis.objective import Objective
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.store.history import EVAL, Series

COMPOSITE = frozenset({Objective.LANGUAGE_MODELING, Objective.DISTILLATION, Objective.CLASSIFICATION, Objective.SPEECH})
LIKELIHOODS = ("lm", "ce", "nll", "cross_entropy", "hard", "task", "student")
"""Terms that are the negative log-likelihood of the text."""
_ALIASES = {"attn": "attention", "ce": "lm", "hidden": "feature", "distill": "kd"}
_STAND_IN = 1e8
"""A term at or above that is a stand-in for infinity."""
_NO_TERMS = Lacks(what="terms of a composite loss (kd_loss, lm_loss, …)")
_NO_WEIGHTS = Lacks(what="weights of the terms of its loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class Terms:
    """The terms of a loss by name, and the printed weights of each that has one."""

    series: Mapping[str, Series]
    steps: np.ndarray
    """int64 [m]: where weights were printed; each holds until the next."""
    weights: Mapping[str, np.ndarray]
    """float64 [m] by term; the likelihood's is the rest to 1 of KD's where it is not printed."""
    supposed: frozenset[str]
    """Terms whose weights were not printed but follow from another's."""

    def weight(self, name: str, steps: np.ndarray) -> np.ndarray:
        """The weight of a term at each step: the last one printed at or before it, else the first. float64 [n]."""
        at = np.clip(np.searchsorted(self.steps, steps, side="right") - 1, 0, None)
        return self.weights[name][at]


def terms_of(view: View) -> Terms:
    """Terms of the training loss with their weights: `feat` is the weight of `routing_feature`."""
    series = {name: one for name, one in view.named("term/").items() if len(one)}
    likelihood = view.get("lm_loss")
    if likelihood is not None:
        series.setdefault("lm", likelihood)
    printed = sorted(view.config.get("term_weights") or (), key=lambda pair: pair[0])
    steps = np.array([step for step, _ in printed], dtype=np.int64)
    weights: dict[str, np.ndarray] = {}
    for key in dict.fromkeys(key for _, own in printed for key in own):
        values = np.array([own.get(key, math.nan) for _, own in printed], dtype=np.float64)
        for name in _named(key, series):
            weights.setdefault(name, values)
    supposed = set()
    if "kd" in weights and np.all((weights["kd"] > 0) & (weights["kd"] < 1)):
        for name in LIKELIHOODS:
            if name in series and name not in weights:
                weights[name] = 1 - weights["kd"]
                supposed.add(name)
    return Terms(series=series, steps=steps, weights=weights, supposed=frozenset(supposed))


def _named(key: str, series: Mapping[str, Series]) -> list[str]:
    """Terms that a weight's key means: by name, by the beginning of one of their words, or by an alias."""
    meant = {key, _ALIASES.get(key, key)}
    if exact := [name for name in series if name in meant]:
        return exact
    return [name for name in series if len(key) > 1 and any(word.startswith(tuple(meant)) for word in name.split("_"))]


def _aligned(*every: Series) -> tuple[np.ndarray, list[np.ndarray]]:
    """Steps that all series have, and their values there; the last value of a step that a series has twice."""
    steps = every[0].steps
    for one in every[1:]:
        steps = np.intersect1d(steps, one.steps)
    return steps, [one.values[np.searchsorted(one.steps, steps, side="right") - 1] for one in every]


@rule(
    title="Distillation out of scale",
    needs="a KD term and a likelihood term at 3 or more of the first 20 common steps",
    statistic="median of KD over likelihood there, both before their weights as far as those are known",
    threshold="above 50 or below 0.02",
    origin="sparseml#592, transformers#1181: KL divergence summed over positions (batchmean) or averaged over the "
    "vocabulary (mean)",
    otherwise="a high temperature (KD is multiplied by its square), or a teacher far from a random student",
    refuted_by="the KL divergence per token, computed by hand on one batch, has the printed value",
    remedy="sum over the vocabulary, average over unmasked positions, multiply by the temperature squared; then "
    "choose the weight",
    objectives=COMPOSITE,
)
def kd_out_of_scale(view: View) -> Found | Nothing | Lacks:
    """KD and likelihood differ by orders of magnitude: only one of them is optimised."""
    terms = terms_of(view)
    distilled = next((terms.series[name] for name in ("kd", "distill", "distillation") if name in terms.series), None)
    likelihood = next((terms.series[name] for name in LIKELIHOODS if name in terms.series), None)
    if distilled is None or likelihood is None:
        return Lacks(what="a KD term and a likelihood term")
    steps, (above, below) = _aligned(distilled.clean(), likelihood.clean())
    above, below = above[:20], below[:20]
    if _already_weighted(view, terms):
        above, below = above / _weight(terms, distilled, steps[:20]), below / _weight(terms, likelihood, steps[:20])
    valid = (below > 0) & (above > 0) & np.isfinite(above + below)
    if valid.sum() < 3:
        return Lacks(what="a KD term and a likelihood term, both above 0, at 3 or more common steps")
    ratio = float(np.median(above[valid] / below[valid]))
    numbers = {"ratio": ratio, "entries": int(valid.sum())}
    if 0.02 <= ratio <= 50:
        return Nothing(numbers=numbers)
    return Found(
        severity="warning",
        statement=f"over the first {valid.sum()} entries, {distilled.label} is {ratio:.3g} times {likelihood.label} "
        f"({np.median(above[valid]):.3g} against {np.median(below[valid]):.3g}): "
        + ("as if summed over positions" if ratio > 1 else "as if averaged over the vocabulary"),
        numbers=numbers,
        evidence=tuple(points(one, range(min(len(one), 20))) for one in (distilled, likelihood)),
    )


def _weight(terms: Terms, one: Series, steps: np.ndarray) -> np.ndarray:
    """The weight of a term's series; 1 where it is not known. float64 [n]."""
    name = one.name.removeprefix("term/")
    return terms.weight(name, steps) if name in terms.weights else np.ones(len(steps))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sums:
    """Total, sum of parts, and the range of weights x parts, at their common steps. float64 [n] each."""

    steps: np.ndarray
    total: np.ndarray
    plain: np.ndarray
    low: np.ndarray
    high: np.ndarray
    tolerance: np.ndarray


def _sums(view: View, terms: Terms) -> _Sums | None:
    """None without a total or with fewer than two terms. A term without a known weight has one between 0 and 1."""
    total = view.get("total_loss") or view.loss
    if total is None or len(terms.series) < 2:
        return None
    names = list(terms.series)
    steps, (whole, *parts) = _aligned(total, *terms.series.values())
    plain, low, high = np.zeros(len(steps)), np.zeros(len(steps)), np.zeros(len(steps))
    for name, part in zip(names, parts, strict=True):
        plain += part
        known = name in terms.weights and name not in terms.supposed
        weight = np.nan_to_num(terms.weight(name, steps)) if known else np.full(len(steps), np.nan)
        low += np.where(np.isnan(weight), np.minimum(part, 0), weight * part)
        high += np.where(np.isnan(weight), np.maximum(part, 0), weight * part)
    rounding = sum(one.step_size for one in (total, *terms.series.values()))
    keep = np.isfinite(whole + plain)
    tolerance = rounding + 1e-3 * np.abs(whole)
    return _Sums(
        steps=steps[keep],
        total=whole[keep],
        plain=plain[keep],
        low=low[keep],
        high=high[keep],
        tolerance=tolerance[keep],
    )


def _already_weighted(view: View, terms: Terms) -> bool:
    """Do the printed parts add up to the total as they are, although their weights are not 1?"""
    sums = _sums(view, terms) if terms.weights else None
    if sums is None or not len(sums.steps):
        return False
    plain = np.abs(sums.plain - sums.total) <= sums.tolerance
    weighted = (sums.total >= sums.low - sums.tolerance) & (sums.total <= sums.high + sums.tolerance)
    return bool(plain.all() and not weighted.any())


@rule(
    title="Parts do not sum",
    needs="a total loss with two or more of its terms at common steps, and the weights printed for them",
    statistic="sum of parts, and sum of weights x parts, against the total; a weight that is not printed may be "
    "anything between 0 and 1",
    threshold="parts add up to the total as they are, weights x parts do not: note (printed parts are weighted "
    "already); neither does at 3 or more steps, by more than 0.1% and the rounding: warning",
    origin="a distillation log whose 'raw' parts 27.4571 and 1.5804 add up to the total of 29.0376, with a KD weight "
    "of 0.7",
    otherwise="total and parts are means over different steps",
    refuted_by="the parts of one batch, computed by hand, add up with the weights",
    remedy="print parts before their weights and say so; add the missing term to what is printed",
    objectives=COMPOSITE,
)
def parts_do_not_sum(view: View) -> Found | Nothing | Lacks:
    """The printed total is not what the printed weights and parts give."""
    terms = terms_of(view)
    sums = _sums(view, terms)
    if sums is None or not len(sums.steps):
        return Lacks(what="a total loss and two or more of its terms at common steps")
    if not terms.weights:
        return _NO_WEIGHTS
    plain = np.abs(sums.plain - sums.total) <= sums.tolerance
    weighted = (sums.total >= sums.low - sums.tolerance) & (sums.total <= sums.high + sums.tolerance)
    numbers = {
        "steps": len(sums.steps),
        "steps_plain": int(plain.sum()),
        "steps_weighted": int(weighted.sum()),
        "total": float(sums.total[-1]),
        "sum_of_parts": float(sums.plain[-1]),
        "highest_weighted_sum": float(sums.high[-1]),
    }
    total = view.get("total_loss") or view.loss
    assert total is not None
    shown = tuple(points(one, np.isin(one.steps, sums.steps[-3:])) for one in (total, *terms.series.values()))
    if _already_weighted(view, terms):
        before = "; ".join(filter(None, (_before(name, terms, sums.steps[-1]) for name in terms.weights)))
        return Found(
            severity="note",
            statement=f"at step {sums.steps[-1]} the parts add up to the total as they are ({sums.plain[-1]:.6g}), "
            f"while weights x parts give at most {sums.high[-1]:.4g}: they are printed after their weights. Before: "
            f"{before}",
            numbers=numbers,
            evidence=shown,
            certainty="likely" if len(sums.steps) >= 3 else "possible",
        )
    if (plain | weighted).any() or len(sums.steps) < 3:
        return Nothing(numbers=numbers)
    return Found(
        severity="warning",
        statement=f"at none of {len(sums.steps)} steps do the parts add up to the total: at step {sums.steps[-1]} it "
        f"is {sums.total[-1]:.5g}, their sum {sums.plain[-1]:.5g}, with weights {_range(sums.low[-1], sums.high[-1])}",
        numbers=numbers,
        evidence=shown,
    )


def _range(low: float, high: float) -> str:
    return f"{high:.5g}" if abs(high - low) < 1e-9 else f"{low:.5g} to {high:.5g}"


def _before(name: str, terms: Terms, step: int) -> str:
    """A part before its weight, in words; nothing where the weight is 0."""
    one = terms.series[name]
    weight = float(terms.weight(name, np.array([step]))[0])
    part = float(one.values[np.searchsorted(one.steps, step, side="right") - 1])
    if not weight > 0:
        return ""
    supposed = " (if its weight is the rest to 1)" if name in terms.supposed else ""
    return f"{name} {part / weight:.4g} x {weight:.3g}{supposed}"


@rule(
    title="Training and evaluation weigh differently",
    needs="printed weights of the terms, the training loss, and an evaluation loss within one logging interval of it",
    statistic="evaluation loss over training loss at neighbouring steps",
    threshold="every ratio above 1.3 (or below 0.77) while a printed weight is 0 in training: terms are off that "
    "evaluation may count",
    origin="transformers#7546; a distillation with 51.71 in evaluation and 29.04 in training at the same step, whose "
    "evaluation took the weights of the end of the curriculum",
    otherwise="evaluation text is harder by as much; overfitting (the ratio would grow); dropout in training",
    refuted_by="training batches, evaluated by the evaluation's code, give the training loss",
    remedy="pass the step to the loss in evaluation, too; print the likelihood term by itself and take perplexity "
    "from it; select checkpoints by that",
    objectives=COMPOSITE,
)
def train_eval_weights_differ(view: View) -> Found | Nothing | Lacks:
    """Evaluation sums the terms with other weights than training: the two losses cannot be compared."""
    printed = view.config.get("term_weights")
    if not printed:
        return _NO_WEIGHTS
    held = next(iter(view.eval_losses), None)
    loss = view.loss.clean() if view.loss is not None else None
    if held is None or loss is None or not len(loss):
        return Lacks(what="a training loss and an evaluation loss")
    nearest = np.clip(np.searchsorted(loss.steps, held.steps), 0, len(loss) - 1)
    before = np.clip(nearest - 1, 0, None)
    nearest = np.where(held.steps - loss.steps[before] < loss.steps[nearest] - held.steps, before, nearest)
    apart = np.abs(loss.steps[nearest] - held.steps)
    spacing = max(float(np.median(np.diff(loss.steps))) if len(loss) > 1 else 1.0, 1.0)
    near = (apart <= max(spacing / 2, 1.0)) & (loss.values[nearest] > 0)
    if not near.any():
        return Lacks(what="an evaluation within one logging interval of a training loss")
    ratio = held.values[near] / loss.values[nearest[near]]
    off = sorted({key for _, own in printed for key, value in own.items() if value == 0})
    numbers = {"ratio_lowest": float(ratio.min()), "ratio_highest": float(ratio.max()), "evaluations": int(near.sum())}
    if not off or not (ratio.min() > 1.3 or ratio.max() < 1 / 1.3):
        return Nothing(numbers=numbers)
    at = int(np.flatnonzero(near)[-1])
    perplexity = view.get("perplexity", EVAL)
    total = perplexity is not None and _of_total(perplexity, held)
    return Found(
        severity="warning",
        statement=f"{held.label} is {held.values[at]:.6g} at step {held.steps[at]}, {ratio[-1]:.2f} times the "
        f"training loss of {loss.values[nearest[at]]:.6g} at step {loss.steps[nearest[at]]}, where {', '.join(off)} "
        + ("has" if len(off) == 1 else "have")
        + " weight 0 in training"
        + ("; the perplexity is the exponential of that total, not of the likelihood" if total else ""),
        numbers=numbers,
        evidence=(points(held, near), points(loss, np.unique(nearest[near]))),
        certainty="likely" if near.sum() >= 3 else "possible",
    )


def _of_total(perplexity: Series, held: Series) -> bool:
    """Is the printed perplexity exp(min(total, 20)), as programs compute it from the whole loss?"""
    steps, (printed, total) = _aligned(perplexity, held)
    if not len(steps):
        return False
    return bool(np.allclose(printed, np.exp(np.minimum(total, 20.0)), rtol=1e-3))


@rule(
    title="Constant term",
    needs="terms of a composite loss with 5 or more entries; weights, or a KD term, that show it is one",
    statistic="different values of each term while its weight is above 0; share of it that is NaN or above 1e8",
    threshold="one single value at 5 or more entries while its known weight is above 0, or NaN, infinite or above 1e8 "
    "at more than half of 3 or more entries",
    origin="by definition: a constant has no gradient, and a stand-in for infinity hides every other term",
    otherwise="the term is rounded to few decimals, or moves more slowly than is printed",
    refuted_by="the gradient of the term with respect to the weights is not zero",
    remedy="look at what the term gets: detached tensors, an empty mask, a teacher that is the student; otherwise "
    "drop it",
    objectives=COMPOSITE,
)
def constant_term(view: View) -> tuple[Found, ...] | Nothing | Lacks:
    """A term that is counted but cannot be learned from."""
    terms = terms_of(view)
    if not terms.series:
        return _NO_TERMS
    if not terms.weights and view.objective != Objective.DISTILLATION:
        return _NO_WEIGHTS
    found = [one for name in terms.series if (one := _constant(name, terms)) is not None]
    longest = max(len(one) for one in terms.series.values())
    return tuple(found) or (Nothing(numbers={"terms": len(terms.series)}) if longest >= 5 else _NO_TERMS)


def _constant(name: str, terms: Terms) -> Found | None:
    one = terms.series[name]
    weight = terms.weight(name, one.steps) if name in terms.weights else None
    if weight is not None and not (weight > 0).all():
        one, weight = one.where(weight > 0), weight[weight > 0]
    if len(one) < 3:
        return None
    broken = ~one.finite | (np.abs(one.values) >= _STAND_IN)
    stuck = len(one) >= 5 and len(np.unique(one.values)) == 1 and weight is not None and name not in terms.supposed
    if broken.mean() <= 0.5 and not stuck:
        return None
    what = "is not finite or above 1e8" if broken.mean() > 0.5 else f"is {one.values[0]:.6g}"
    count = int(broken.sum()) if broken.mean() > 0.5 else len(one)
    known = f" while its weight is {weight[-1]:.3g}" if weight is not None else ""
    return Found(
        severity="warning",
        statement=f"{one.label} {what} at {count} of {len(one)} entries from step {one.steps[0]} to {one.steps[-1]}"
        + known,
        numbers={"entries": len(one), "broken": int(broken.sum()), "value": float(one.values[-1])},
        evidence=(points(one, range(len(one))),),
    )


@rule(
    title="Term with weight 0",
    needs="terms of a composite loss and their printed weights",
    statistic="weight of each term at every step at which it was printed",
    threshold="0 at all of them: note",
    origin="a distillation log with four of six components at weight 0 for the first 10% of the steps",
    otherwise="a curriculum raises the weight later",
    refuted_by="a weight above 0 is printed for it further on",
    remedy="read the term as a measurement: it is not optimised; leave it out of the total and of what is compared",
    objectives=COMPOSITE,
)
def zero_weight_term(view: View) -> Found | Nothing | Lacks:
    """Terms that are logged, but do not count in the loss."""
    terms = terms_of(view)
    if not terms.series:
        return _NO_TERMS
    if not terms.weights:
        return _NO_WEIGHTS
    off = [name for name, weights in terms.weights.items() if np.all(weights == 0)]
    if not off:
        return Nothing(numbers={"terms": len(terms.series), "with_weights": len(terms.weights)})
    return Found(
        severity="note",
        statement=f"{', '.join(sorted(off))} "
        + ("is" if len(off) == 1 else "are")
        + f" logged with weight 0 at all {len(terms.steps)} steps at which weights are printed, up to step "
        f"{terms.steps[-1]}: not optimised so far",
        numbers={"terms": len(terms.series), "with_weight_0": len(off), "weights_printed": len(terms.steps)},
        evidence=tuple(points(terms.series[name], range(len(terms.series[name]))) for name in off),
        certainty="certain",
    )
