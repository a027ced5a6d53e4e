"""Does the loss fall? Curves that never fall, that stop falling, and that still fall at the end."""

import math

import numpy as np

from ontogeny.diagnosis.dead_signals import is_dead
from ontogeny.diagnosis.objective import LANGUAGE_MODELING, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
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
    threshold="the losses of the first epoch come back in each epoch to the last digit (3 decimals or more): error; or "
    "the interval contains 0 or the fall is below 2% of the first fifth, the lowest tenth is less than 5% "
    "below the first fifth, and no evaluation loss falls by 2%",
    origin="four foreign logs that end within 2% of their first loss; a training loss at 12.6 for 1,300 steps",
    otherwise="a model that has already converged on such text (continued pretraining); entries of single batches, "
    "with noise larger than the progress",
    refuted_by="parameters change, and the loss on a fixed set falls",
    remedy="check that parameters require gradients and are in the optimizer, and that the optimizer steps; raise the "
    "learning rate; log means over more batches",
    objectives=LIKELIHOOD,
)
def not_learning(view: View) -> Detection | Nothing | Lacks:
    """The loss ends at its first value."""
    repeated = _repeats(view)
    if repeated is not None:
        return repeated
    if is_dead(view):
        return Lacks(what="a gradient that is not 0 throughout (see vanished_gradient)")
    loss = _loss(view)
    few = view.loss.clean() if view.loss is not None else None
    if loss is None and few is not None and len(few) >= 6 and np.ptp(few.values[1:]) < 1e-3 * abs(few.values[-1]):
        loss = few  # a constant needs no statistics
    if loss is None or not view.starts_at_beginning:
        return Lacks(what=f"a training loss at {LEAST} or more steps from the beginning")
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    if rate is not None and len(rate) and view.warmup_end >= loss.steps[-1] - (loss.steps[-1] - loss.steps[0]) * 0.5:
        return Lacks(what="training after the warm-up")
    first, last = robust.ends(loss.values, share=0.2)
    level = float(np.mean(first))
    if level <= 0:
        return Lacks(what="a positive loss")
    change = robust.change(loss.values, len(first))
    tenth = max(len(loss) // 10, 3)
    lowest = min(float(np.mean(loss.values[i : i + tenth])) for i in range(0, len(loss) - tenth + 1, tenth))
    falls = [
        float(series.values[0] - series.values.min()) / abs(float(series.values[0]))
        for series in view.eval_losses
        if len(series) > 1 and series.values[0]
    ]
    evaluated = max(falls, default=0.0)
    flat = change.high > 0 or change.value > -0.02 * level
    if (
        not flat
        or (lowest < 0.95 * level and change.value < -0.01 * level)
        or lowest < 0.85 * level
        or evaluated > 0.02
    ):
        return Nothing(numbers={"change": change.value, "first": level, "evaluation_fell_by": evaluated})
    return Detection(
        severity="warning",
        statement=f"the {loss.label} averages {np.mean(last):.4g} over the last fifth of {len(loss)} entries and "
        f"{level:.4g} over the first (change {change.value:+.3g}, 95% {change.low:+.3g} to {change.high:+.3g})",
        numbers={"change": change.value, "low": change.low, "high": change.high, "first": level, "entries": len(loss)},
        evidence=(points(loss, [0, len(loss) // 2, len(loss) - 1]),),
    )


def _repeats(view: View) -> Detection | None:
    """Losses that come back in every epoch, to the last digit: the parameters do not change."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 6 or not np.isfinite(loss.epochs).all():
        return None
    if loss.decimals is not None and loss.decimals < 3:
        return None
    epochs = np.floor(loss.epochs - (loss.epochs[0] if loss.epochs[0] == np.floor(loss.epochs[0]) else 0.0))
    length = int((epochs == epochs[0]).sum())
    if length < 3 or len(loss) < 2 * length or len(np.unique(loss.values[:length])) < 3:
        return None
    whole = len(loss) // length * length
    rounds = loss.values[:whole].reshape(-1, length)
    if not (rounds == rounds[0]).all():
        return None
    return Detection(
        severity="error",
        statement=f"the {length} values of the {loss.label} in the first epoch ({rounds[0][0]:.4g}, "
        f"{rounds[0][1]:.4g}, {rounds[0][2]:.4g} …) come back in each of {len(rounds)} epochs, to the last digit: the "
        "model does not change",
        numbers={"entries_per_epoch": length, "epochs": len(rounds)},
        evidence=(points(loss, [0, 1, 2, length, length + 1, length + 2]),),
        certainty="certain",
        remedy="check that parameters require gradients (under LoRA: enable_input_require_grads with gradient "
        "checkpointing), that the optimizer holds them, and that it steps",
    )


@rule(
    title="Plateau at token frequencies",
    needs="a training or evaluation loss at 30 or more steps from the beginning",
    statistic="level of the last third, and the change of the loss over the last 60% of the log",
    threshold="level from 6 to 9.5 nats (subword tokens) with a change below 5% over the last 60% of the log, or from "
    "3.1 to 9.5 with a vocabulary of at most 256 and a change below 2%",
    origin="foreign logs with plateaus at 7.66, 6.4 (pretrained) and 3.31 (characters): the entropy of single tokens",
    otherwise="a very large vocabulary or a mix of languages, early in a long run",
    refuted_by="the loss of a unigram model on the same text is clearly higher",
    remedy="the model has learned token frequencies and nothing else: check attention masks, position ids, residual "
    "connections, the learning rate, and whether inputs are aligned with labels",
    objectives=LANGUAGE_MODELING,
)
def plateau_at_frequencies(view: View) -> Detection | Nothing | Lacks:
    """The loss stops at that of a model that knows only the token frequencies."""
    loss = _loss(view, 30)
    if loss is None or not view.starts_at_beginning:
        return Lacks(what="a training loss at 30 or more steps from the beginning")
    values = loss.values * math.log(2) if loss.unit == "bits" else loss.values
    tail = values[int(0.4 * len(values)) :]
    third = len(tail) // 3
    level = float(np.median(tail[-third:]))
    change = float(np.median(tail[:third]) - level) / level if level > 0 else 1.0
    first = float(np.max(values[:3]))
    characters = float(view.config.get("vocabulary_size") or 1e9) <= 256
    limit = 3.1 if characters else 6.0
    flat = abs(change) < (0.02 if characters else 0.05)
    if not limit <= level <= 9.5 or not flat or first > 30 or _evaluation_falls(view):
        return Nothing(numbers={"level": level, "change_over_last_60_percent": change})
    if abs(first - level) < 0.02 * level and not characters and first < 7.0:
        return Nothing(numbers={"level": level, "first": first})
    return Detection(
        severity="warning",
        statement=f"the {loss.label} stays at {level:.3g} over the last 60% of the log (change {change:.1%}): about "
        "the loss of a model that knows only the frequencies of single tokens",
        numbers={"level": level, "change": change, "entries": len(loss), "first": first},
        evidence=(points(loss, [0, int(0.4 * len(loss)), len(loss) - 1]),),
        certainty="likely" if level > 6 or characters else "possible",
    )


def _evaluation_falls(view: View) -> bool:
    """Does any evaluation loss fall by more than 3% over its second half?"""
    return any(
        len(series) >= 4 and series.values[-1] < 0.97 * series.values[len(series) // 2] for series in view.eval_losses
    )


@rule(
    title="Evaluation does not move",
    needs="an evaluation loss at 8 or more steps from the beginning",
    statistic="range of the evaluation loss over its median; fall of the training loss over the same steps",
    threshold="range below 0.5% (1.2% where the log rounds coarsely) but above 0, and a training loss that falls by "
    "less than 5%",
    origin="a log whose evaluation loss stays between 3.725 and 3.730 for 207 evaluations",
    otherwise="a converged model at a very low learning rate",
    refuted_by="parameters differ between the first and the last checkpoint",
    remedy="check that the optimizer holds the parameters that are evaluated, and that evaluation does not load old "
    "weights",
    objectives=LIKELIHOOD,
)
def evaluation_does_not_move(view: View) -> Detection | Nothing | Lacks:
    """The evaluation loss changes only by noise."""
    series = next((series for series in view.eval_losses if len(series) >= 8), None)
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
    return Detection(
        severity="warning",
        statement=f"the {series.label} stays between {series.values.min():.5g} and {series.values.max():.5g} at all "
        f"{len(series)} evaluations from step {series.steps[0]} to {series.steps[-1]}: the model does not change",
        numbers={"range_over_median": moved, "evaluations": len(series), "training_fell_by": fell},
        evidence=(points(series, [0, len(series) // 2, len(series) - 1]),),
    )


@rule(
    title="Stopped learning long before the end",
    needs="a training loss at 60 or more steps",
    statistic="trend of the training loss over the last 60% of the log, and the fall before it",
    threshold="a trend of less than 1% of the level over the last 60% of the log, with an interval that contains 0 and "
    "is narrower than 5% of the level, after a fall of 10% or more",
    origin="fine-tunes that reach their final level within the first tenth",
    otherwise="a converged model; progress smaller than the noise of single batches",
    refuted_by="the evaluation loss falls after that step",
    remedy="most of the budget had no visible effect: stop earlier, raise the learning rate, or use a larger model or "
    "more data",
    objectives=SUPERVISED,
)
def stopped_learning(view: View) -> Detection | Nothing | Lacks:
    """The loss does not change over most of the run."""
    loss = _loss(view, 60)
    if loss is None:
        return Lacks(what="a training loss at 60 or more steps")
    cut = int(0.4 * len(loss))
    tail = loss.where(np.arange(len(loss)) >= cut)
    trend = robust.trend(tail.steps, tail.values)
    level = float(np.median(tail.values))
    first, _ = robust.ends(loss.values, share=0.05)
    fell = float(np.median(first) - level) / max(abs(float(np.median(first))), 1e-12)
    flat = trend.low <= 0 <= trend.high and abs(trend.value) < 0.01 * level and trend.high - trend.low < 0.05 * level
    if not flat or fell < 0.1 or level < 0.05 or _evaluation_falls(view):
        return Nothing(numbers={"change_over_last_60_percent": trend.value, "level": level, "fell_before_by": fell})
    return Detection(
        severity="note",
        statement=f"the {loss.label} has not changed since step {tail.steps[0]}, over 60% of the log (trend "
        f"{trend.value:+.2g}, 95% {trend.low:+.2g} to {trend.high:+.2g}, at a level of {level:.4g})",
        numbers={"change": trend.value, "low": trend.low, "high": trend.high, "level": level, "entries": len(loss)},
        evidence=(points(loss, [0, cut, len(loss) - 1]),),
    )


@rule(
    title="Still falling at the end",
    needs="a training loss at 40 or more steps, and the learning rate",
    statistic="trend of the training loss over the last fifth of the log",
    threshold="a fall above 2% of the level with a 95% interval below 0, while the learning rate is above 20% of its "
    "peak and no evaluation loss has turned",
    origin="runs that were stopped while the loss was falling and the learning rate was high",
    otherwise="memorization: then a falling training loss is no gain",
    refuted_by="the evaluation loss no longer falls",
    remedy="train longer, or with a higher learning rate; let the schedule decay before the end",
    objectives=LIKELIHOOD,
)
def still_falling(view: View) -> Detection | Nothing | Lacks:
    """The training loss was still falling when the run ended."""
    loss = _loss(view, 40)
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    if loss is None or rate is None or len(rate) < 10:
        return Lacks(what="a training loss at 40 or more steps, and the learning rate")
    left = float(rate.values[-1] / max(rate.values.max(), 1e-300))
    tail = loss.where(np.arange(len(loss)) >= int(0.8 * len(loss)))
    trend = robust.trend(tail.steps, tail.values)
    level = abs(float(np.median(tail.values)))
    turned = any(len(series) >= 3 and series.values[-1] > series.values.min() * 1.005 for series in view.eval_losses)
    if left < 0.2 or trend.high >= 0 or trend.value > -0.02 * level or turned or view.warmup_end >= loss.steps[-1]:
        return Nothing(numbers={"change_over_last_fifth": trend.value, "rate_left": left})
    return Detection(
        severity="note",
        statement=f"the {loss.label} falls by {-trend.value:.3g} ({-trend.value / level:.0%}) over the last fifth of "
        f"the log, with {left:.0%} of the peak learning rate left",
        numbers={"change": trend.value, "low": trend.low, "high": trend.high, "rate_left": left},
        evidence=(points(tail, [0, len(tail) - 1]),),
    )
