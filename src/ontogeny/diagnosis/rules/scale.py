"""Does the loss have the scale of a mean negative log-likelihood per token?"""

import math
from typing import NamedTuple

import numpy as np

from ontogeny.diagnosis.objective import LANGUAGE_MODELING, LIKELIHOOD, ObjectiveKind
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import TRAIN, Series

VOCABULARIES = (50257, 50304, 50280, 32000, 32768, 65536, 100277, 128256, 151936, 152064, 21128, 30522)
"""Common vocabulary sizes: a constant loss at the logarithm of one of them is a uniform prediction."""
SATURATED = (math.exp(20), math.exp(10), math.exp(50), math.exp(100))
"""Perplexities at which programs commonly clamp."""


def nats(series: Series) -> np.ndarray:
    """The values of a loss in nats, converted if the log gives bits. float64 [n]."""
    return series.values * math.log(2) if series.unit == "bits" else series.values


class PairedLosses(NamedTuple):
    """The loss of one evaluation set, and the training loss at its steps, in nats. float64 [n] each."""

    series: Series
    evaluation: np.ndarray
    training: np.ndarray


def paired(view: View) -> list[PairedLosses]:
    """The loss of each evaluation set with the training loss at the same steps.

    The training loss is the median of up to 6 entries, the last 5 up to the evaluation and the next one, within one
    evaluation interval; NaN if there is none.
    """
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 2:
        return []
    values = nats(loss)
    pairs = []
    for series in view.eval_losses:
        interval = float(np.median(np.diff(series.steps))) if len(series) > 1 else float("inf")
        training = np.full(len(series), np.nan)
        for i, step in enumerate(series.steps):
            end = int(np.searchsorted(loss.steps, step, side="right"))
            near = [k for k in range(max(end - 5, 0), min(end + 1, len(loss))) if abs(loss.steps[k] - step) <= interval]
            if near:
                training[i] = float(np.median(values[near]))
        pairs.append(PairedLosses(series, nats(series), training))
    return pairs


def _comparable(view: View) -> list[PairedLosses]:
    """Pairs with a training loss at 3 or more evaluations."""
    return [pair for pair in paired(view) if np.isfinite(pair.training).sum() >= 3]


@rule(
    title="Loss not divided by accumulation",
    needs="a training loss and an evaluation loss at 3 or more common steps",
    statistic="training loss over evaluation loss at every evaluation",
    threshold="at the first three evaluations, between 1.8 and 64 and within 12% of one whole number, with a robust sd "
    "over all evaluations below 15%; or within 10% of the accumulation count that the log states",
    origin="transformers#34191, #35438, #37766: the loss is summed over the micro-batches of a step",
    otherwise="heavy dropout, label smoothing or augmentation in training only",
    refuted_by="the loss of a training batch, computed in evaluation mode, equals the printed one",
    remedy="divide by the number of supervised tokens in the whole step; upgrade transformers; until then, compare "
    "runs by the evaluation loss",
    objectives=LIKELIHOOD,
)
def accumulation_not_normalised(view: View) -> Detection | Nothing | Lacks:
    """The training loss is a multiple of the evaluation loss from the start."""
    pairs = _comparable(view)
    if not pairs:
        return Lacks(what="a training loss at 3 or more evaluations")
    known_count = view.config.get("accumulation")
    series, values, training = pairs[0]
    kept = np.isfinite(training) & (values > 0)
    ratio = training[kept] / values[kept]
    if len(ratio) < 3:
        return Lacks(what="a positive evaluation loss at 3 steps")
    first = ratio[:3]
    count = round(float(np.median(first)))
    near = np.abs(first / max(count, 1) - 1)
    as_known = known_count is not None and int(known_count) >= 2 and np.abs(first / int(known_count) - 1).max() < 0.1
    steady = robust.spread(ratio) < 0.15 * float(np.median(ratio)) or len(ratio) == 3
    whole = count >= 2 and first.min() >= 1.8 and first.max() < 64 and near.max() < 0.12 and steady
    if view.objective == ObjectiveKind.SPEECH:
        whole = False  # dropout and masking of the input raise the training loss alone
    if not as_known and not whole:
        return Nothing(numbers={"train_over_eval_at_start": float(np.median(first))})
    index = np.searchsorted(series.steps, series.steps[kept][:3])
    return Detection(
        severity="error" if as_known else "warning",
        statement=f"the training loss is {np.median(first):.2f} times the {series.label} at the first three "
        f"evaluations ({training[kept][0]:.3g} against {values[kept][0]:.3g} at step {series.steps[kept][0]}): about "
        f"{count} micro-batches are summed, not averaged",
        numbers={"ratio": float(np.median(first)), "count": count, "evaluations": len(ratio)},
        evidence=(points(series, index),),
        certainty="likely" if as_known else "possible",
    )


def _steady(ratio: np.ndarray) -> bool:
    """Is a ratio constant: robust sd below 8%, medians of both halves within 4%? (The gap of overfitting drifts.)"""
    middle, half = float(np.median(ratio)), len(ratio) // 2
    drift = abs(float(np.median(ratio[:half]) - np.median(ratio[-half:]))) if half else 0.0
    return robust.spread(ratio) < 0.08 * middle and drift < 0.04 * middle


@rule(
    title="Evaluation loss multiplied",
    needs="an evaluation loss and a training loss at 3 or more common steps",
    statistic="evaluation loss over training loss at every evaluation",
    threshold="median within 3% of a whole number from 2 to 64, 80% of the evaluations within 8%, no drift",
    origin="transformers#35078: evaluation losses summed over devices",
    otherwise="an evaluation set that is harder by exactly that factor throughout",
    refuted_by="evaluation on one device gives the same number",
    remedy="gather and average over devices, weighted by tokens",
    objectives=LIKELIHOOD,
)
def evaluation_multiplied(view: View) -> Detection | Nothing | Lacks:
    """The evaluation loss is a whole multiple of the training loss from the first evaluation on."""
    pairs = _comparable(view)
    if not pairs:
        return Lacks(what="a training loss at 3 or more evaluations")
    largest = 0.0
    for series, values, training in pairs:
        kept = np.isfinite(training) & (training > 0)
        ratio = values[kept] / training[kept]
        if len(ratio) < 3:
            continue
        count = round(float(np.median(ratio)))
        largest = max(largest, float(np.median(ratio)))
        off = np.abs(ratio / max(count, 1) - 1)
        whole = abs(float(np.median(ratio)) / max(count, 1) - 1) < 0.03 and (off < 0.08).mean() >= 0.8
        if 2 <= count <= 64 and whole and _steady(ratio):
            return Detection(
                severity="error",
                statement=f"the {series.label} is {count} times the training loss at all {len(ratio)} evaluations "
                f"({values[kept][0]:.4g} against {training[kept][0]:.4g} at step {series.steps[kept][0]})",
                numbers={"ratio": float(np.median(ratio)), "count": count, "evaluations": len(ratio)},
                evidence=(points(series, np.arange(len(series))),),
            )
    return Nothing(numbers={"eval_over_train": largest})


@rule(
    title="Training and evaluation on different scales",
    needs="an evaluation loss and a training loss at 3 or more common steps",
    statistic="evaluation loss over training loss at every evaluation",
    threshold="always below 0.5 or always above 2, with both curves flat (total change below 5%) or the ratio "
    "constant (robust sd below 8%, no drift)",
    origin="a log with a training loss of 12.6 and an evaluation loss of 3.73, both flat for 1,200 steps",
    otherwise="objectives that differ on purpose (label smoothing, auxiliary terms, another vocabulary)",
    refuted_by="the same batch gives the same loss in both modes",
    remedy="compute both with the same function, in nats per supervised token, before you compare them",
    objectives=LIKELIHOOD,
)
def train_eval_scale_differs(view: View) -> Detection | Nothing | Lacks:
    """The two losses cannot both be means over tokens of similar text."""
    pairs = _comparable(view)
    if not pairs:
        return Lacks(what="a training loss at 3 or more evaluations")
    series, values, training = pairs[0]
    kept = np.isfinite(training) & (training > 0)
    ratio = values[kept] / training[kept]
    if len(ratio) < 3:
        return Lacks(what="a positive training loss at 3 evaluations")
    apart = bool((ratio < 0.5).all() or (ratio > 2).all())
    flat = all(np.ptp(curve) < 0.05 * abs(float(np.median(curve))) for curve in (values[kept], training[kept]))
    constant = _steady(ratio) and len(ratio) >= 5
    if not apart or not (flat or constant):
        return Nothing(numbers={"eval_over_train": float(np.median(ratio))})
    return Detection(
        severity="warning",
        statement=f"the {series.label} is {np.median(ratio):.2f} times the training loss over all {len(ratio)} "
        f"evaluations ({values[kept][0]:.4g} against {training[kept][0]:.4g} at the first): they are not the same "
        "function",
        numbers={"ratio": float(np.median(ratio)), "evaluations": len(ratio)},
        evidence=(points(series, [0, len(series) - 1]),),
    )


@rule(
    title="Broken start",
    needs="a training loss from the beginning, and a model known to be pretrained (or a token accuracy)",
    statistic="mean of the first three training losses, in nats; median of the last tenth; token accuracy at the start",
    threshold="first loss above 8 nats for a model known to be pretrained, or above 5 with a token accuracy below 0.5; "
    "and still above 4 at the end",
    origin="a fine-tune of a Llama that starts at 12.05 with 27% token accuracy; the corrected run starts at 1.69",
    otherwise="some models start high by design (mT5 near 25, new embeddings): their loss soon falls below 4",
    refuted_by="the loss of the model before training, computed separately on the same text, is as high",
    remedy="check the template, the special tokens, quantisation and label alignment before you train on",
    objectives=LANGUAGE_MODELING,
)
def broken_start(view: View) -> Detection | Nothing | Lacks:
    """A pretrained model starts with a loss as if it had never been trained on text."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 8 or not view.starts_at_beginning or loss.unit == "bits":
        return Lacks(what="a training loss from the beginning, at 8 or more steps")
    accuracy = view.get("token_accuracy")
    pretrained = bool(view.config.get("pretrained")) and not view.config.get("from_scratch")
    if not pretrained and accuracy is None:
        return Lacks(what="whether the model was pretrained")
    first, last = float(loss.values[:3].mean()), float(np.median(loss.values[-max(len(loss) // 10, 3) :]))
    poor = accuracy is not None and len(accuracy.clean()) and float(accuracy.clean().values[:3].mean()) < 0.5
    high = first > (8.0 if pretrained else 5.0)
    if not (high and last > 4.0 and (poor or pretrained)):
        return Nothing(numbers={"first_loss": first, "last_loss": last})
    with_accuracy = (
        f" and a token accuracy of {accuracy.clean().values[0]:.2f}" if accuracy is not None and poor else ""
    )
    return Detection(
        severity="warning",
        statement=f"the {loss.label} starts at {loss.values[0]:.3g}{with_accuracy} and is still {last:.3g} at the end: "
        "a pretrained model with correct inputs starts below 4",
        numbers={"first_loss": first, "last_loss": last, "entries": len(loss)},
        evidence=(points(loss, [0, 1, 2, len(loss) - 1]),),
        certainty="possible",
    )


@rule(
    title="Loss collapsed to nearly 0",
    needs="a training loss of language modeling from the beginning, with epochs",
    statistic="median training loss over the last third of the first epoch",
    threshold="below 0.05 nats, from above 1 nat at the start",
    origin="a summariser whose loss went from 9.25 to 0.0086 at 0.2 epochs: padding counted as labels, or targets "
    "leaked",
    otherwise="text that repeats one template",
    refuted_by="the loss on held-out text without padding is as low, and generated text is right",
    remedy="set padding labels to -100; check that the decoder does not see its own target; read generated text",
    objectives=LANGUAGE_MODELING,
)
def collapsed_loss(view: View) -> Detection | Nothing | Lacks:
    """No text is that predictable in its first epoch."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 20 or not np.isfinite(loss.epochs).all() or not view.starts_at_beginning:
        return Lacks(what="a training loss from the beginning, at 20 or more steps, with its epochs")
    first = loss.where(loss.epochs <= 1.0)
    if len(first) < 12 or float(loss.epochs[0]) > 0.5:
        return Lacks(what="12 or more entries in the first epoch")
    start, end = float(np.median(first.values[:3])), float(np.median(first.values[-len(first) // 3 :]))
    if start < 1.0 or end >= 0.05 or end < 0:
        return Nothing(numbers={"start": start, "end_of_first_epoch": end})
    below = int(np.argmax(robust.smooth(first.values, 5) < 0.05))
    return Detection(
        severity="error",
        statement=f"the {loss.label} falls from {start:.3g} to {first.values[below]:.2g} by epoch "
        f"{first.epochs[below]:.2g} and to {end:.2g} within the first epoch: a perplexity of {math.exp(end):.4f} on "
        "text seen once",
        numbers={"start": start, "end_of_first_epoch": end, "entries": len(first)},
        evidence=(points(loss, [0, below, len(first) - 1]),),
    )


@rule(
    title="Stuck at the uniform loss",
    needs="a training loss at 5 or more steps",
    statistic="distance of the median loss from ln(vocabulary) or from a small whole multiple of it; share of entries "
    "within 1% of the median",
    threshold="within 1% of ln(vocabulary) if the log states it, else a constant loss within 0.2% of 1 to 16 times the "
    "logarithm of a common vocabulary; at 60% of the entries, up to the end",
    origin="a pretraining log at 54.75 = 5 x ln(57,000) in three runs, then at ln V in the fourth",
    otherwise="a loss that happens to pass this value (it must stay there)",
    refuted_by="the entropy of the predictions is below ln(vocabulary)",
    remedy="check that the optimizer holds the parameters and steps, that gradients are not 0, and that labels are "
    "shifted",
    objectives=LIKELIHOOD,
)
def stuck_at_uniform(view: View) -> Detection | Nothing | Lacks:
    """The model predicts every token with the same probability throughout."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 3 or not view.starts_at_beginning:
        return Lacks(what="a training loss from the beginning, at 3 or more steps")
    values = nats(loss)
    known_size = view.config.get("vocabulary_size")
    level = float(np.median(values))
    sizes = (int(known_size),) if known_size else VOCABULARIES
    tolerance = 0.01 if known_size else 0.002
    hits = [
        (abs(level / (n * math.log(size)) - 1), n, size)
        for size in sizes
        for n in (range(1, 17) if not known_size else (1,))
    ]
    distance, times, size = min(hits)
    near = np.abs(values - level) < 0.01 * level
    constant = robust.spread(values[1:]) < 0.002 * level and near.mean() > 0.6
    share = float(near.mean())
    at_end = bool(near[-max(len(near) // 10, 1) :].all())
    if distance > tolerance or not at_end or share < 0.6 or level < 3 or not (constant or known_size):
        return Nothing(numbers={"level": level, "share_there": share})
    multiple = f"{times} x ln({size:,})" if times > 1 else f"ln({size:,})"
    return Detection(
        severity="error",
        statement=f"the {loss.label} stays at {loss.values[-1]:.4g} for {share:.0%} of {len(loss)} entries, which is "
        f"{multiple} = {times * math.log(size):.2f}: every token gets the same probability",
        numbers={"level": level, "uniform_loss": times * math.log(size), "share_there": share, "vocabulary": size},
        evidence=(points(loss, [0, len(loss) - 1]),),
        certainty="likely" if known_size or len(loss) >= 5 else "possible",
    )


@rule(
    title="Perplexity saturated",
    needs="a perplexity",
    statistic="values that are infinite, or within 1e-6 of e^10, e^20, e^50 or e^100",
    threshold="1 or more",
    origin="transformers#11855; a report with 485165195.41 = e^20 at every evaluation",
    otherwise="a model that is that bad and has exactly that perplexity",
    refuted_by="the unclamped mean NLL gives that perplexity",
    remedy="report exp(mean NLL per token) of plain next-token prediction, never of a composite loss, never clamped",
    objectives=LIKELIHOOD,
)
def saturated_perplexity(view: View) -> Detection | Nothing | Lacks:
    """The perplexity is a clamped value, not a measurement."""
    perplexities = [series for (_, name), series in view.series.items() if name == "perplexity"]
    if not perplexities:
        return Lacks(what="a perplexity")
    for series in perplexities:
        clamped = np.zeros(len(series), dtype=bool)
        for limit in SATURATED:
            clamped |= np.abs(series.values / limit - 1) < 1e-6
        bad = np.isposinf(series.values) | clamped
        if bad.any():
            value = float(series.values[np.flatnonzero(bad)[0]])
            cause = "an overflow" if math.isinf(value) else f"e^{math.log(value):.0f}, a clamp"
            return Detection(
                severity="error",
                statement=f"the {series.label} is {value:.10g} at {int(bad.sum())} of {len(series)} entries: {cause}",
                numbers={"clamped": int(bad.sum()), "entries": len(series), "value": value},
                evidence=(points(series, bad),),
                certainty="certain",
            )
    return Nothing(numbers={"entries": sum(map(len, perplexities))})


@rule(
    title="Perplexity and loss disagree",
    needs="a perplexity and a loss of the same set at 3 or more common steps",
    statistic="logged perplexity over exp(logged loss)",
    threshold="off by more than 10% in the same direction at 90% of the steps and by more than 25% in the median, "
    "beyond rounding",
    origin="transformers#7546: smoothed or composite losses, or perplexities computed over other batches",
    otherwise="a mean of batch perplexities, which is a few per cent higher (Jensen); bits, not nats",
    refuted_by="the formula in the code is exp(mean NLL)",
    remedy="compute perplexity from the plain next-token NLL over all tokens at once",
    objectives=LIKELIHOOD,
)
def perplexity_disagrees(view: View) -> Detection | Nothing | Lacks:
    """Perplexity and loss contradict each other on the same tokens."""
    compared = 0
    for (scope, name), series in view.series.items():
        loss = view.get("loss", scope)
        if name != "perplexity" or loss is None or scope == TRAIN:
            continue
        common, left, right = np.intersect1d(loss.steps, series.steps, return_indices=True)
        values = nats(loss)[left]
        kept = np.isfinite(values) & np.isfinite(series.values[right]) & (values < 600) & (series.values[right] > 0)
        if kept.sum() < 3:
            continue
        compared += int(kept.sum())
        ratio = series.values[right][kept] / np.exp(values[kept])
        rounding = np.exp(loss.step_size) - 1 + series.step_size / series.values[right][kept].min()
        off = np.abs(np.log(ratio)) > np.log(1.1) + rounding
        same = max((off & (ratio > 1)).mean(), (off & (ratio < 1)).mean())
        if same >= 0.9 and abs(math.log(float(np.median(ratio)))) > math.log(1.25) + rounding:
            i = int(np.flatnonzero(kept)[0])
            return Detection(
                severity="warning",
                statement=f"the {series.label} is {np.median(ratio):.3g} times exp({loss.label}): "
                f"{series.values[right[i]]:.5g} against {np.exp(values[i]):.5g} at step {common[i]}",
                numbers={"ratio": float(np.median(ratio)), "steps": int(kept.sum())},
                evidence=(points(series, right[kept]), points(loss, left[kept])),
                certainty="certain",
            )
    if not compared:
        return Lacks(what="a perplexity and a loss of the same set")
    return Nothing(numbers={"compared": compared})
