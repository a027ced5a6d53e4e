"""Preference learning: DPO, KTO, ORPO and reward models."""

import math

import numpy as np

from ontogeny.diagnosis.objective import ObjectiveKind
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import EVAL, TRAIN, Series

PREFERENCE = frozenset({ObjectiveKind.PREFERENCE})
PAIRS = frozenset({ObjectiveKind.PREFERENCE, ObjectiveKind.REWARD_MODEL})
LN2 = math.log(2.0)
KTO_START = 0.5
LEAST_ENTRIES = 16


def start_of(view: View) -> float | None:
    """The untrained loss, where the policy equals its reference: ln 2 (DPO, reward models), 0.5 (KTO); None if neither.

    The first entry or the median of the first 5 must be within 10% of it: single batches scatter, and later entries
    have been trained on. KTO is recognised by its `kl`.
    """
    loss = view.loss.clean().values[:5] if view.loss is not None else np.zeros(0)
    if not len(loss):
        return None
    start = KTO_START if view.get("kl") is not None else LN2
    return start if min(abs(float(first) / start - 1) for first in (loss[0], np.median(loss))) < 0.1 else None


def accuracies(view: View, scope: str = TRAIN) -> Series | None:
    """Share of pairs in which the chosen answer has the higher reward, under either of its names."""
    series = view.get("rewards/accuracies", scope) or view.get("accuracy", scope)
    return series.clean() if series is not None and len(series.clean()) else None


def quarters(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last quarter of a series, finite values only."""
    values = series.clean().values
    count = max(len(values) // 4, 1)
    return values[:count], values[-count:]


def _grew(series: Series | None) -> robust.CurveEstimate | None:
    """Mean of the last quarter minus mean of the first; None without the series or with fewer than 16 values."""
    if series is None or len(series.clean()) < LEAST_ENTRIES:
        return None
    first, last = quarters(series)
    return robust.difference(last, first)


@rule(
    title="Preference not learned",
    needs="a loss of 16 or more entries that begins at ln 2 (DPO; 0.5 for KTO), past the warm-up",
    statistic="mean loss of the last quarter minus that of the first, with 95% confidence; accuracy and margins of "
    "the last quarter",
    threshold="the last quarter within 2% of the start, or no fall beyond noise: warning; a fall of less than 5% of "
    "the start by the end, or a log that ends within the warm-up: note",
    origin="trl#1311; two DPO runs that stayed within 5% of ln 2",
    otherwise="few steps at a low learning rate: a longer run would learn; pairs whose answers are nearly equal",
    refuted_by="accuracy on held-out pairs rises beyond its binomial noise",
    remedy="raise the learning rate or the number of steps (the gradient norm shows whether there is a signal); check "
    "that chosen and rejected are neither swapped nor equal, and that the reference is frozen",
    objectives=PREFERENCE,
)
def preference_not_learned(view: View) -> Detection | Nothing | Lacks:
    """The loss stays at ln 2: the policy prefers the same answers as its reference."""
    if view.loss is None or len(loss := view.loss.clean()) < LEAST_ENTRIES:
        return Lacks(what=f"a training loss of {LEAST_ENTRIES} or more entries")
    start = start_of(view)
    warming = _within_warmup(view)
    if start is None and warming and abs(float(loss.values.mean()) / LN2 - 1) < 0.05:
        start = LN2  # single batches scatter, so their mean decides
    if start is None:
        return Lacks(what="a loss that begins at ln 2 (DPO) or 0.5 (KTO)")
    first, last = quarters(loss)
    change = robust.difference(last, first)
    end, accuracy, margins = float(last.mean()), accuracies(view), view.get("rewards/margins")
    right = float(quarters(accuracy)[1].mean()) if accuracy is not None else math.nan
    margin = float(quarters(margins)[1].mean()) if margins is not None and margins.finite.any() else math.nan
    numbers = _known(
        {
            "start": start,
            "first_quarter": float(first.mean()),
            "last_quarter": end,
            "change": change.value,
            "change_low": change.low,
            "change_high": change.high,
            "accuracy": right,
            "margin": margin,
        }
    )
    fell = 1 - end / start
    learned = (change.high < 0 and fell > 0.05) or right > 0.8 or margin > 0.5
    if learned or (fell > 0.05 and not warming) or fell < -0.05:
        return Nothing(numbers=numbers)
    flat = change.high >= 0 or abs(fell) < 0.02
    with_accuracy = f", accuracy {right:.2f}" if accuracy is not None else ""
    still_warming = ", and the learning rate was still rising" if warming else ""
    return Detection(
        severity="warning" if flat and not warming else "note",
        statement=f"the loss averages {first.mean():.4f} over the first quarter and {end:.4f} over the last"
        f"{with_accuracy}, up to step {loss.steps[-1]}; the untrained loss is {start:.4f}{still_warming}",
        numbers=numbers,
        evidence=(points(loss, range(len(loss))), *([points(accuracy, range(len(accuracy)))] if accuracy else [])),
        certainty="possible" if warming else "likely",
        otherwise="the log ends within the warm-up: too early to have learned anything" if warming else "",
    )


def _known(numbers: dict[str, float]) -> dict[str, float]:
    """The numbers without NaN, which stands for series that the log lacks."""
    return {name: value for name, value in numbers.items() if not math.isnan(value)}


def _within_warmup(view: View) -> bool:
    rate = view.learning_rate.clean().values if view.learning_rate is not None else np.zeros(0)
    return len(rate) > 3 and bool((np.diff(rate) >= 0).all()) and rate[-1] > 2 * max(rate[0], 0.0)


@rule(
    title="Preference over-optimised",
    needs="a loss of 16 or more entries that begins at ln 2 (DPO) or 0.5 (KTO), and margins",
    statistic="median loss of the last quarter over the untrained loss; median accuracy there; margins, last quarter "
    "minus first",
    threshold="median loss below 10% of the start (0.069 for DPO, 0.05 for KTO), accuracy 1.0 if logged, and margins "
    "grown beyond noise to more than 3",
    origin="trl#1236; a DPO run with a median loss of 0.022 at step 200, a KTO run of 30 epochs on a toy set",
    otherwise="pairs that are easy to tell apart: check held-out pairs",
    refuted_by="accuracy and win rate on held-out prompts still rise over the same steps",
    remedy="stop earlier, raise beta, train for fewer epochs, or use pairs that differ less; judge by generated "
    "answers",
    objectives=PREFERENCE,
)
def preference_over_optimised(view: View) -> Detection | Nothing | Lacks:
    """All training pairs are ranked right, and the margins keep growing."""
    margins, start = view.get("rewards/margins"), start_of(view)
    if view.loss is None or margins is None or start is None or len(view.loss.clean()) < LEAST_ENTRIES:
        return Lacks(what=f"{LEAST_ENTRIES} or more losses that begin at ln 2 (DPO) or 0.5 (KTO), and margins")
    loss, grew = view.loss.clean(), _grew(margins)
    if grew is None:
        return Lacks(what=f"{LEAST_ENTRIES} or more margins")
    accuracy = accuracies(view)
    right = float(np.median(quarters(accuracy)[1])) if accuracy is not None else math.nan
    end, margin = float(np.median(quarters(loss)[1])), float(np.median(quarters(margins)[1]))
    numbers = _known({"start": start, "loss": end, "accuracy": right, "margin": margin, "margin_grew": grew.value})
    if end >= 0.1 * start or right < 0.999 or grew.low <= 0 or margin < 3:
        return Nothing(numbers=numbers)
    with_accuracy = f", accuracy {right:.2f}" if accuracy is not None else ""
    return Detection(
        severity="warning",
        statement=f"over the last quarter, up to step {loss.steps[-1]}, the median loss is {end:.3g} "
        f"({end / start:.0%} of its start){with_accuracy}, and the margin has grown to {margin:.3g}",
        numbers=numbers,
        evidence=(points(loss, range(len(loss))), points(margins, range(len(margins)))),
    )


@rule(
    title="Likelihood displacement",
    needs="16 or more values of rewards/chosen (or logps/chosen, where that is not logged) and of rewards/margins",
    statistic="last quarter minus first quarter of the chosen answers' reward (beta x log-likelihood over the "
    "reference's) and of the margins, each with 95% confidence",
    threshold="chosen falls beyond noise by 10% or more of what the margins grow by, and ends below its start",
    origin="Pal et al. 2024 (DPO-Positive); Razin et al. 2024 (likelihood displacement); trl#800",
    otherwise="ORPO and SimPO have no reference, so that both answers move; logps depend on the answers in a batch",
    refuted_by="chosen answers of a fixed held-out set keep their likelihood",
    remedy="lower the learning rate or raise beta; add an NLL term on chosen answers (rpo_alpha); drop pairs that "
    "differ in few tokens",
    objectives=PREFERENCE,
)
def likelihood_displacement(view: View) -> Detection | Nothing | Lacks:
    """Margins grow while chosen answers become less likely: probability moves to answers outside the pair."""
    margins = view.get("rewards/margins")
    chosen = view.get("rewards/chosen") or view.get("logps/chosen")
    grew, moved = _grew(margins), _grew(chosen)
    if margins is None or chosen is None or grew is None or moved is None:
        return Lacks(what=f"{LEAST_ENTRIES} or more values of rewards/chosen (or logps/chosen) and rewards/margins")
    numbers = {
        "chosen_change": moved.value,
        "chosen_low": moved.low,
        "chosen_high": moved.high,
        "margin_change": grew.value,
        "margin_low": grew.low,
    }
    if moved.high >= 0 or grew.low <= 0 or -moved.value < max(0.1 * grew.value, 0.02):
        return Nothing(numbers=numbers)
    first, last = quarters(chosen)
    return Detection(
        severity="warning",
        statement=f"{chosen.label} fell from {first.mean():.3g} (first quarter) to {last.mean():.3g} (last quarter, up "
        f"to step {chosen.steps[-1]}) while {margins.label} grew by {grew.value:.3g}",
        numbers=numbers,
        evidence=(points(chosen, range(len(chosen))), points(margins, range(len(margins)))),
    )


@rule(
    title="Reward model saturated",
    needs="a loss of 16 or more entries that begins at ln 2",
    statistic="median loss of the last tenth (at least 3 entries), epochs trained, evaluations",
    threshold="below 0.1, that is 15% of ln 2, within the first epoch and without an evaluation: note",
    origin="two reward models that fell from 0.691 to 0.095 and 0.020 within 0.4 epochs, without evaluation",
    otherwise="preferences that really are easy (a refusal against an answer)",
    refuted_by="accuracy on held-out pairs of equal length and format is as high",
    remedy="evaluate on held-out pairs; look for a shortcut: length, formatting, a template in one of the answers",
    objectives=frozenset({ObjectiveKind.REWARD_MODEL}),
)
def reward_saturated(view: View) -> Detection | Nothing | Lacks:
    """Pairs are ranked almost perfectly within the first epoch: by a shortcut."""
    if view.loss is None or len(loss := view.loss.clean()) < LEAST_ENTRIES:
        return Lacks(what=f"a training loss of {LEAST_ENTRIES} or more entries")
    if start_of(view) != LN2:
        return Lacks(what="a loss that begins at ln 2")
    end = float(np.median(robust.ends(loss.values)[1]))
    epoch = float(loss.epochs[-1])
    if not np.isfinite(epoch):
        return Lacks(what="epochs")
    evaluated = bool(view.eval_losses) or accuracies(view, EVAL) is not None
    if end >= 0.1 or epoch > 1 or evaluated:
        return Nothing(numbers={"loss": end, "epoch": epoch})
    return Detection(
        severity="note",
        statement=f"the loss fell from {loss.values[0]:.3f} to {end:.3f} (median of the last tenth) within "
        f"{epoch:.2g} epochs, and nothing was evaluated",
        numbers={"first": float(loss.values[0]), "loss": end, "epoch": epoch},
        evidence=(points(loss, range(len(loss))),),
    )


@rule(
    title="Evaluation accuracy falls",
    needs="accuracy on held-out pairs at 5 or more evaluations, and the number of pairs (stated, or inferred from the "
    "values, which are multiples of 1/n)",
    statistic="trend of the held-out accuracy with 95% confidence; binomial sd of the difference of two evaluations, "
    "sqrt(2 p (1 - p) / n)",
    threshold="trend below 0, and a fall from the first third to the last third of 2 binomial sd or more, while "
    "training accuracy does not fall or is not logged",
    origin="a DPO run whose held-out accuracy went from 0.667 to 0.567 on 30 pairs: within binomial noise",
    otherwise="held-out pairs of another kind than the training pairs",
    refuted_by="a larger held-out set shows no fall",
    remedy="keep the checkpoint of the highest held-out accuracy; fewer epochs, a lower learning rate, a higher beta",
    objectives=PAIRS,
)
def eval_accuracy_falls(view: View) -> Detection | Nothing | Lacks:
    """Accuracy falls on held-out pairs but not on training pairs."""
    held = accuracies(view, EVAL)
    if held is None or len(held) < 5:
        return Lacks(what="accuracy on held-out pairs at 5 or more evaluations")
    count = int(view.config.get("eval_examples") or _denominator(held))
    if not count:
        return Lacks(what="the number of held-out pairs, which sets the binomial noise of the accuracy")
    third = max(len(held) // 3, 2)
    first, last = float(held.values[:third].mean()), float(held.values[-third:].mean())
    middle = float(np.clip(held.values.mean(), 0.5 / count, 1 - 0.5 / count))
    sd = math.sqrt(2 * middle * (1 - middle) / count)
    change, train = robust.trend(held.steps, held.values), _grew(accuracies(view))
    numbers = {"first": first, "last": last, "trend_high": change.high, "binomial_sd": sd, "pairs": count}
    if change.high >= 0 or first - last < 2 * sd or (train is not None and train.high < 0):
        return Nothing(numbers=numbers)
    return Detection(
        severity="warning",
        statement=f"{held.label} fell from {first:.3f} (first {third} evaluations) to {last:.3f} (last {third}, up to "
        f"step {held.steps[-1]}), {(first - last) / sd:.1f} binomial sd for {count} pairs",
        numbers=numbers,
        evidence=(points(held, range(len(held))),),
    )


def _denominator(held: Series) -> int:
    """The smallest n up to 2000 such that all values are multiples of 1/n; 0 if there is none or the log rounds."""
    if held.decimals is not None and held.decimals < 6 and not np.isin(held.values, (0.0, 0.5, 1.0)).all():
        return 0
    counts = np.arange(2, 2001)
    scaled = np.unique(held.values)[:200, None] * counts
    fits = (np.abs(scaled - np.round(scaled)) < 2e-6 * counts).all(axis=0)
    return int(counts[np.argmax(fits)]) if fits.any() else 0
