"""Does anything change? Curves that never fall, that stop falling, and that were still falling."""

import math

import numpy as np

from ontogeny.diagnosis.objective import LANGUAGE_MODELING, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Series

LEAST = 20


def _loss(view: View, least: int = LEAST) -> Series | None:
    loss = view.loss.clean() if view.loss is not None else None
    return loss if loss is not None and len(loss) >= least else None


@rule(
    title="Not learning",
    needs="a training loss at 20 or more steps from the beginning, beyond the warm-up",
    statistic="mean of the last fifth minus mean of the first fifth (errors from effective sample sizes), and the "
    "fall of the evaluation loss",
    threshold="interval holds 0 or the fall is below 2% of the first, the lowest tenth below the first by less than "
    "5%, and no evaluation loss falls by 2%",
    origin="four foreign logs that stay within 2% of where they began; a training loss at 12.6 for 1,300 steps",
    otherwise="a model that has already converged on such text (continued pretraining); one batch per entry, noise "
    "larger than what is learned",
    refuted_by="parameters move, and the loss on a fixed set falls",
    remedy="check that parameters require gradients and are in the optimizer, that the optimizer steps, and raise the "
    "rate; log the mean over more batches",
    objectives=LIKELIHOOD,
)
def not_learning(view: View) -> Found | Nothing | Lacks:
    """The loss ends where it began."""
    loss = _loss(view)
    few = view.loss.clean() if view.loss is not None else None
    if loss is None and few is not None and len(few) >= 6 and np.ptp(few.values[1:]) < 1e-3 * abs(few.values[-1]):
        loss = few  # a constant needs no statistics
    if loss is None or not view.starts_at_beginning:
        return Lacks(what=f"a training loss at {LEAST} or more steps from the beginning")
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    if rate is not None and len(rate) and view.warmup_end >= loss.steps[-1] - (loss.steps[-1] - loss.steps[0]) * 0.5:
        return Lacks(what="training beyond the warm-up")
    first, last = robust.ends(loss.values, share=0.2)
    level = float(np.mean(first))
    if level <= 0:
        return Lacks(what="a positive loss")
    found = robust.difference(last, first)
    tenth = max(len(loss) // 10, 3)
    lowest = min(float(np.mean(loss.values[i : i + tenth])) for i in range(0, len(loss) - tenth + 1, tenth))
    falls = [
        float(one.values[0] - one.values.min()) / abs(float(one.values[0]))
        for one in view.eval_losses
        if len(one) > 1 and one.values[0]
    ]
    evaluated = max(falls, default=0.0)
    flat = found.high > 0 or found.value > -0.02 * level
    if not flat or (lowest < 0.95 * level and found.value < -0.01 * level) or lowest < 0.85 * level or evaluated > 0.02:
        return Nothing(numbers={"change": found.value, "first": level, "evaluation_fell_by": evaluated})
    return Found(
        severity="warning",
        statement=f"the {loss.label} stands at {np.mean(last):.4g} in the last fifth of {len(loss)} entries and at "
        f"{level:.4g} in "
        f"the first (change {found.value:+.3g}, 95% {found.low:+.3g} to {found.high:+.3g})",
        numbers={"change": found.value, "low": found.low, "high": found.high, "first": level, "entries": len(loss)},
        evidence=(points(loss, [0, len(loss) // 2, len(loss) - 1]),),
    )


@rule(
    title="Plateau at word frequencies",
    needs="a training or evaluation loss at 30 or more steps from the beginning",
    statistic="level of the last third, and the change of the loss over the last 60% of the log",
    threshold="level from 6 to 9.5 nats (word pieces), or above 3.1 with a vocabulary of at most 256, with a change "
    "below 5% over the last 60% of the log",
    origin="foreign logs that stand at 7.66, 6.4 (pretrained) and 3.31 (characters): the entropy of single tokens",
    otherwise="a very large vocabulary or a mix of languages early in a long run",
    refuted_by="the loss of a unigram model on the same text is clearly higher",
    remedy="the model knows how frequent tokens are and no more: look at attention masks, position ids, residual "
    "connections, the learning rate, and whether inputs are aligned with labels",
    objectives=LANGUAGE_MODELING,
)
def plateau_at_frequencies(view: View) -> Found | Nothing | Lacks:
    """It has learned which tokens are frequent, and stays there."""
    loss = _loss(view, 30)
    if loss is None or not view.starts_at_beginning:
        return Lacks(what="a training loss at 30 or more steps from the beginning")
    values = loss.values * math.log(2) if loss.unit == "bits" else loss.values
    tail = values[int(0.4 * len(values)) :]
    third = len(tail) // 3
    level = float(np.median(tail[-third:]))
    change = float(np.median(tail[:third]) - level) / level if level > 0 else 1.0
    first = float(np.max(values[:3]))
    characters = float(view.config.get("vocabulary_size") or (256 if first < math.log(256) * 1.02 else 1e9)) <= 256
    limit = 3.1 if characters else 6.0
    flat = abs(change) < (0.02 if characters else 0.05)
    if not limit <= level <= 9.5 or not flat or first > 30 or _evaluation_falls(view):
        return Nothing(numbers={"level": level, "change_over_last_60_percent": change})
    if abs(first - level) < 0.02 * level and not characters and first < 7.0:
        return Nothing(numbers={"level": level, "first": first})
    return Found(
        severity="warning",
        statement=f"the {loss.label} stays at {level:.3g} over the last 60% of the log (change {change:.1%}): about "
        "what knowing "
        "the frequency of single tokens gives",
        numbers={"level": level, "change": change, "entries": len(loss), "first": first},
        evidence=(points(loss, [0, int(0.4 * len(loss)), len(loss) - 1]),),
        certainty="likely" if level > 6 or characters else "possible",
    )


def _evaluation_falls(view: View) -> bool:
    """Does an evaluation loss fall over its second half by more than 3%?"""
    return any(len(one) >= 4 and one.values[-1] < 0.97 * one.values[len(one) // 2] for one in view.eval_losses)


@rule(
    title="Evaluation does not move",
    needs="an evaluation loss at 8 or more steps from the beginning",
    statistic="range of the evaluation loss over its median; fall of the training loss over the same steps",
    threshold="range below 0.5% with differing values, and a training loss that falls by less than 5%",
    origin="a log whose evaluation loss stays between 3.725 and 3.730 for 207 evaluations",
    otherwise="a converged model at a very low learning rate",
    refuted_by="parameters differ between the first and the last checkpoint",
    remedy="check that the optimizer holds the parameters that are evaluated, and that evaluation does not load old "
    "weights",
    objectives=LIKELIHOOD,
)
def evaluation_does_not_move(view: View) -> Found | Nothing | Lacks:
    """Evaluated again and again, and always the same up to noise."""
    series = next((one for one in view.eval_losses if len(one) >= 8), None)
    if series is None or not view.starts_at_beginning:
        return Lacks(what="an evaluation loss at 8 or more steps from the beginning")
    level = float(np.median(series.values))
    moved = float(np.ptp(series.values)) / abs(level) if level else 1.0
    loss = _loss(view)
    fell = 0.0
    if loss is not None:
        first, last = robust.ends(loss.values)
        fell = float(np.median(first) - np.median(last)) / max(abs(float(np.median(first))), 1e-12)
    coarse = series.step_size * 2 > 0.002 * abs(level)
    limit = 0.012 if coarse else 0.005
    if moved > limit or moved == 0 or fell > 0.05:
        return Nothing(numbers={"range_over_median": moved, "training_fell_by": fell})
    return Found(
        severity="warning",
        statement=f"the {series.label} stays between {series.values.min():.5g} and {series.values.max():.5g} at all "
        f"{len(series)} evaluations from step {series.steps[0]} to {series.steps[-1]}: the model does not change",
        numbers={"range_over_median": moved, "evaluations": len(series), "training_fell_by": fell},
        evidence=(points(series, [0, len(series) // 2, len(series) - 1]),),
    )


@rule(
    title="Stopped learning long before the end",
    needs="a training loss at 60 or more steps",
    statistic="the earliest step after which the trend is within noise, and the share of the log after it",
    threshold="the last 60% of the log change by less than 1% of the level with an interval that holds 0, after a "
    "fall of 10% or more before",
    origin="fine-tunes that reach their level within the first tenth",
    otherwise="a converged model; progress smaller than the noise of single batches",
    refuted_by="the evaluation loss falls after that step",
    remedy="most of the budget went into nothing visible: stop earlier, or raise the rate, the model or the data",
    objectives=SUPERVISED,
)
def stopped_learning(view: View) -> Found | Nothing | Lacks:
    """Most of the run changed nothing that the loss shows."""
    loss = _loss(view, 60)
    if loss is None:
        return Lacks(what="a training loss at 60 or more steps")
    cut = int(0.4 * len(loss))
    tail = loss.where(np.arange(len(loss)) >= cut)
    found = robust.trend(tail.steps, tail.values)
    level = float(np.median(tail.values))
    first, _ = robust.ends(loss.values, share=0.05)
    fell = float(np.median(first) - level) / max(abs(float(np.median(first))), 1e-12)
    flat = found.low <= 0 <= found.high and abs(found.value) < 0.01 * level and found.high - found.low < 0.05 * level
    if not flat or fell < 0.1 or level < 0.05 or _evaluation_falls(view):
        return Nothing(numbers={"change_over_last_60_percent": found.value, "level": level, "fell_before_by": fell})
    return Found(
        severity="note",
        statement=f"the {loss.label} has not changed since step {tail.steps[0]} (by {found.value:+.2g}, 95% "
        f"{found.low:+.2g} to "
        f"{found.high:+.2g}, at {level:.4g}): 60% of the log",
        numbers={"change": found.value, "low": found.low, "high": found.high, "level": level, "entries": len(loss)},
        evidence=(points(loss, [0, cut, len(loss) - 1]),),
    )


@rule(
    title="Still falling at the end",
    needs="a training loss at 40 or more steps to the end of the plan, and the learning rate",
    statistic="trend over the last fifth of the log",
    threshold="a fall above 2% of the level with a 95% interval below 0, while the rate is constant or above 20% of "
    "its peak",
    origin="runs that were stopped while loss and rate still had far to go",
    otherwise="memorization, where a fall of the training loss is no gain",
    refuted_by="the evaluation loss no longer falls",
    remedy="train longer, or with a higher rate; let the schedule come down before the end",
    objectives=LIKELIHOOD,
)
def still_falling(view: View) -> Found | Nothing | Lacks:
    """The run ended before it had learned what it could."""
    loss = _loss(view, 40)
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    if loss is None or rate is None or len(rate) < 10:
        return Lacks(what="a training loss at 40 or more steps, and the learning rate")
    left = float(rate.values[-1] / max(rate.values.max(), 1e-300))
    tail = loss.where(np.arange(len(loss)) >= int(0.8 * len(loss)))
    found = robust.trend(tail.steps, tail.values)
    level = abs(float(np.median(tail.values)))
    turned = any(len(one) >= 3 and one.values[-1] > one.values.min() * 1.005 for one in view.eval_losses)
    if left < 0.2 or found.high >= 0 or found.value > -0.02 * level or turned or view.warmup_end >= loss.steps[-1]:
        return Nothing(numbers={"change_over_last_fifth": found.value, "rate_left": left})
    return Found(
        severity="note",
        statement=f"the {loss.label} falls by {-found.value:.3g} ({-found.value / level:.0%}) over the last fifth of "
        "the log, and "
        f"{left:.0%} of the highest learning rate is left",
        numbers={"change": found.value, "low": found.low, "high": found.high, "rate_left": left},
        evidence=(points(tail, [0, len(tail) - 1]),),
    )
