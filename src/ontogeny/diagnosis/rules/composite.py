"""Composite losses: do the terms, their weights, the total and the evaluation agree?"""

import numpy as np

from ontogeny.diagnosis.loss_terms import LIKELIHOODS, Terms, aligned, already_weighted, sums_of, terms_of, weight_of
from ontogeny.diagnosis.objective import ObjectiveKind
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.store.history import EVAL, Series

COMPOSITE = frozenset(
    {ObjectiveKind.LANGUAGE_MODELING, ObjectiveKind.DISTILLATION, ObjectiveKind.CLASSIFICATION, ObjectiveKind.SPEECH}
)
_STAND_IN = 1e8
"""A term at or above this value is a stand-in for infinity."""
_NO_TERMS = Lacks(what="terms of a composite loss (kd_loss, lm_loss, …)")
_NO_WEIGHTS = Lacks(what="weights of the terms of the loss")


@rule(
    title="Distillation out of scale",
    needs="a KD term and a likelihood term at 3 or more of the first 20 common steps",
    statistic="median of KD over likelihood there, both without their weights if these are known",
    threshold="above 50 or below 0.02",
    origin="sparseml#592, transformers#1181: KL divergence summed over positions (batchmean) or averaged over the "
    "vocabulary (mean)",
    otherwise="a high temperature (KD is multiplied by its square), or a teacher far from a random student",
    refuted_by="the KL divergence per token, computed separately on one batch, has the printed value",
    remedy="sum over the vocabulary, average over unmasked positions, multiply by the temperature squared; then "
    "choose the weight",
    objectives=COMPOSITE,
)
def kd_out_of_scale(view: View) -> Detection | Nothing | Lacks:
    """KD and likelihood differ by orders of magnitude: only the larger is optimised."""
    terms = terms_of(view)
    distilled = next((terms.series[name] for name in ("kd", "distill", "distillation") if name in terms.series), None)
    likelihood = next((terms.series[name] for name in LIKELIHOODS if name in terms.series), None)
    if distilled is None or likelihood is None:
        return Lacks(what="a KD term and a likelihood term")
    steps, (kd, nll) = aligned(distilled.clean(), likelihood.clean())
    steps, kd, nll = steps[:20], kd[:20], nll[:20]
    if already_weighted(view, terms):
        kd, nll = kd / weight_of(terms, distilled, steps), nll / weight_of(terms, likelihood, steps)
    valid = (nll > 0) & (kd > 0) & np.isfinite(kd + nll)
    if valid.sum() < 3:
        return Lacks(what="a KD term and a likelihood term, both above 0, at 3 or more common steps")
    ratio = float(np.median(kd[valid] / nll[valid]))
    numbers = {"ratio": ratio, "entries": int(valid.sum())}
    if 0.02 <= ratio <= 50:
        return Nothing(numbers=numbers)
    cause = "as if summed over positions" if ratio > 1 else "as if averaged over the vocabulary"
    return Detection(
        severity="warning",
        statement=f"over the first {valid.sum()} entries, {distilled.label} is {ratio:.3g} times {likelihood.label} "
        f"({np.median(kd[valid]):.3g} against {np.median(nll[valid]):.3g}): {cause}",
        numbers=numbers,
        evidence=tuple(points(term, range(min(len(term), 20))) for term in (distilled, likelihood)),
    )


@rule(
    title="Parts do not sum",
    needs="a total loss with two or more of its terms at common steps, and their printed weights",
    statistic="sum of parts, and sum of weights x parts, against the total; a weight that is not printed may be "
    "anything between 0 and 1",
    threshold="the parts add up to the total without weights, and weights x parts do not: note (printed parts are "
    "already weighted); neither sum matches at 3 or more steps, within 0.1% and rounding: warning",
    origin="a distillation log whose 'raw' parts 27.4571 and 1.5804 add up to the total of 29.0376, with a KD weight "
    "of 0.7",
    otherwise="total and parts are means over different steps",
    refuted_by="the parts of one batch, computed separately, add up with the weights",
    remedy="print unweighted parts and say so; print the missing term, too",
    objectives=COMPOSITE,
)
def parts_do_not_sum(view: View) -> Detection | Nothing | Lacks:
    """The printed total is not the sum of the printed parts, with or without their weights."""
    terms = terms_of(view)
    sums = sums_of(view, terms)
    if sums is None or not len(sums.steps):
        return Lacks(what="a total loss and two or more of its terms at common steps")
    if not terms.weights:
        return _NO_WEIGHTS
    numbers = {
        "steps": len(sums.steps),
        "steps_plain": int(sums.plain_fits.sum()),
        "steps_weighted": int(sums.weighted_fits.sum()),
        "total": float(sums.total[-1]),
        "sum_of_parts": float(sums.plain[-1]),
        "highest_weighted_sum": float(sums.high[-1]),
    }
    total = view.get("total_loss") or view.loss
    assert total is not None
    shown = tuple(points(series, np.isin(series.steps, sums.steps[-3:])) for series in (total, *terms.series.values()))
    if already_weighted(view, terms):
        unweighted = "; ".join(filter(None, (_unweighted(name, terms, sums.steps[-1]) for name in terms.weights)))
        return Detection(
            severity="note",
            statement=f"at step {sums.steps[-1]} the parts add up to the total without weights ({sums.plain[-1]:.6g}), "
            f"while weights x parts give at most {sums.high[-1]:.4g}: the printed parts are already weighted. "
            f"Unweighted: {unweighted}",
            numbers=numbers,
            evidence=shown,
            certainty="likely" if len(sums.steps) >= 3 else "possible",
        )
    if (sums.plain_fits | sums.weighted_fits).any() or len(sums.steps) < 3:
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"the parts add up to the total at none of {len(sums.steps)} steps: at step {sums.steps[-1]} the "
        f"total is {sums.total[-1]:.5g}, the sum {sums.plain[-1]:.5g}, and the weighted sum "
        f"{_range(sums.low[-1], sums.high[-1])}",
        numbers=numbers,
        evidence=shown,
    )


def _range(low: float, high: float) -> str:
    return f"{high:.5g}" if abs(high - low) < 1e-9 else f"{low:.5g} to {high:.5g}"


def _unweighted(name: str, terms: Terms, step: int) -> str:
    """A weighted part as value x weight, in words; empty if the weight is 0."""
    term = terms.series[name]
    weight = float(terms.weight(name, np.array([step]))[0])
    part = float(term.values[np.searchsorted(term.steps, step, side="right") - 1])
    if not weight > 0:
        return ""
    supposed = " (if the weights sum to 1)" if name in terms.supposed else ""
    return f"{name} {part / weight:.4g} x {weight:.3g}{supposed}"


@rule(
    title="Different weights in training and evaluation",
    needs="printed weights of the terms, the training loss, and an evaluation loss within one logging interval of it",
    statistic="evaluation loss over training loss at neighbouring steps",
    threshold="every ratio above 1.3 (or below 0.77) while a printed weight is 0 in training: evaluation may count "
    "terms that training does not",
    origin="transformers#7546; a distillation with 51.71 in evaluation and 29.04 in training at the same step, whose "
    "evaluation used the weights of the end of the curriculum",
    otherwise="the evaluation text is that much harder; overfitting (the ratio would grow); dropout in training",
    refuted_by="the evaluation code gives the training loss on training batches",
    remedy="pass the step to the loss in evaluation, too; print the likelihood term separately, compute perplexity "
    "from it, and select checkpoints by it",
    objectives=COMPOSITE,
)
def train_eval_weights_differ(view: View) -> Detection | Nothing | Lacks:
    """Evaluation and training weight the terms differently: the two losses cannot be compared."""
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
    off = sorted({key for _, by_key in printed for key, value in by_key.items() if value == 0})
    numbers = {"ratio_lowest": float(ratio.min()), "ratio_highest": float(ratio.max()), "evaluations": int(near.sum())}
    if not off or not (ratio.min() > 1.3 or ratio.max() < 1 / 1.3):
        return Nothing(numbers=numbers)
    at = int(np.flatnonzero(near)[-1])
    perplexity = view.get("perplexity", EVAL)
    have = "has" if len(off) == 1 else "have"
    of_total = (
        "; the perplexity is the exponential of that total, not of the likelihood"
        if perplexity is not None and _of_total(perplexity, held)
        else ""
    )
    return Detection(
        severity="warning",
        statement=f"{held.label} is {held.values[at]:.6g} at step {held.steps[at]}, {ratio[-1]:.2f} times the "
        f"training loss of {loss.values[nearest[at]]:.6g} at step {loss.steps[nearest[at]]}, where {', '.join(off)} "
        f"{have} weight 0 in training{of_total}",
        numbers=numbers,
        evidence=(points(held, near), points(loss, np.unique(nearest[near]))),
        certainty="likely" if near.sum() >= 3 else "possible",
    )


def _of_total(perplexity: Series, held: Series) -> bool:
    """Is the printed perplexity exp(min(total, 20)), as some programs compute it from the total loss?"""
    steps, (printed, total) = aligned(perplexity, held)
    if not len(steps):
        return False
    return bool(np.allclose(printed, np.exp(np.minimum(total, 20.0)), rtol=1e-3))


@rule(
    title="Constant term",
    needs="terms with 5 or more entries of a loss that its weights, or a KD term, show to be composite",
    statistic="number of different values of each term while its weight is above 0; share of its entries that are NaN, "
    "infinite or above 1e8",
    threshold="a single value at 5 or more entries while its known weight is above 0; or NaN, infinite or above 1e8 "
    "at more than half of 3 or more entries",
    origin="a constant has no gradient, and a stand-in for infinity hides every other term",
    otherwise="the term is rounded to few decimals, or changes by less than the printed precision",
    refuted_by="the gradient of the term with respect to the weights is not 0",
    remedy="check the inputs of the term: detached tensors, an empty mask, a teacher that is the student; otherwise "
    "drop it",
    objectives=COMPOSITE,
)
def constant_term(view: View) -> tuple[Detection, ...] | Nothing | Lacks:
    """A term counts in the loss but gives no gradient."""
    terms = terms_of(view)
    if not terms.series:
        return _NO_TERMS
    if not terms.weights and view.objective != ObjectiveKind.DISTILLATION:
        return _NO_WEIGHTS
    detections = [detection for name in terms.series if (detection := _constant(name, terms)) is not None]
    if detections:
        return tuple(detections)
    longest = max(len(series) for series in terms.series.values())
    return Nothing(numbers={"terms": len(terms.series)}) if longest >= 5 else _NO_TERMS


def _constant(name: str, terms: Terms) -> Detection | None:
    term = terms.series[name]
    weight = terms.weight(name, term.steps) if name in terms.weights else None
    if weight is not None and not (weight > 0).all():
        term, weight = term.where(weight > 0), weight[weight > 0]
    if len(term) < 3:
        return None
    broken = ~term.finite | (np.abs(term.values) >= _STAND_IN)
    stuck = len(term) >= 5 and len(np.unique(term.values)) == 1 and weight is not None and name not in terms.supposed
    if broken.mean() <= 0.5 and not stuck:
        return None
    fault = "is not finite or above 1e8" if broken.mean() > 0.5 else f"is {term.values[0]:.6g}"
    count = int(broken.sum()) if broken.mean() > 0.5 else len(term)
    with_weight = f" while its weight is {weight[-1]:.3g}" if weight is not None else ""
    return Detection(
        severity="warning",
        statement=f"{term.label} {fault} at {count} of {len(term)} entries from step {term.steps[0]} to "
        f"{term.steps[-1]}{with_weight}",
        numbers={"entries": len(term), "broken": int(broken.sum()), "value": float(term.values[-1])},
        evidence=(points(term, range(len(term))),),
    )


@rule(
    title="Term with weight 0",
    needs="terms of a composite loss and their printed weights",
    statistic="weight of each term at every step at which it was printed",
    threshold="0 at all of them: note",
    origin="a distillation log with four of six components at weight 0 for the first 10% of the steps",
    otherwise="a curriculum raises the weight later",
    refuted_by="a later step prints a weight above 0 for it",
    remedy="treat the term as a measurement: it is not optimised; leave it out of the total and of comparisons",
    objectives=COMPOSITE,
)
def zero_weight_term(view: View) -> Detection | Nothing | Lacks:
    """A term is logged but has no weight in the loss."""
    terms = terms_of(view)
    if not terms.series:
        return _NO_TERMS
    if not terms.weights:
        return _NO_WEIGHTS
    off = [name for name, weights in terms.weights.items() if np.all(weights == 0)]
    if not off:
        return Nothing(numbers={"terms": len(terms.series), "with_weights": len(terms.weights)})
    are = "is" if len(off) == 1 else "are"
    return Detection(
        severity="note",
        statement=f"{', '.join(sorted(off))} {are} logged with weight 0 at all {len(terms.steps)} steps at which "
        f"weights are printed, up to step {terms.steps[-1]}: not optimised so far",
        numbers={"terms": len(terms.series), "with_weight_0": len(off), "weights_printed": len(terms.steps)},
        evidence=tuple(points(terms.series[name], range(len(terms.series[name]))) for name in off),
        certainty="certain",
    )
