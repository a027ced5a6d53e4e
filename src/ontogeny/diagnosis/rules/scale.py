"""Does the loss have the size that a mean negative log-likelihood of tokens must have?"""

import math

import numpy as np

from ontogeny.diagnosis.objective import LANGUAGE_MODELING, LIKELIHOOD
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import TRAIN, Series

VOCABULARIES = (50257, 50304, 50280, 32000, 32768, 65536, 100277, 128256, 151936, 152064, 21128, 30522)
"""Sizes of common vocabularies: a constant loss at the logarithm of one of them is a uniform prediction."""
SATURATED = (math.exp(20), math.exp(10), math.exp(50), math.exp(100))


def nats(series: Series) -> np.ndarray:
    """Its values in nats, where the log gives bits. float64."""
    return series.values * math.log(2) if series.unit == "bits" else series.values


def paired(view: View) -> list[tuple[Series, np.ndarray, np.ndarray]]:
    """For each evaluation set: its loss, those values, and the training loss there, in nats.

    The training loss is the median of the (up to 5) entries nearest in steps before or at the evaluation and within
    one evaluation interval; NaN where there is none.
    """
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 2:
        return []
    values = nats(loss)
    found = []
    for series in view.eval_losses:
        interval = float(np.median(np.diff(series.steps))) if len(series) > 1 else float("inf")
        there = np.full(len(series), np.nan)
        for i, step in enumerate(series.steps):
            end = int(np.searchsorted(loss.steps, step, side="right"))
            near = [k for k in range(max(end - 5, 0), min(end + 1, len(loss))) if abs(loss.steps[k] - step) <= interval]
            if near:
                there[i] = float(np.median(values[near]))
        found.append((series, nats(series), there))
    return found


@rule(
    title="Accumulation not divided out",
    needs="a training loss and an evaluation loss at 3 or more common places",
    statistic="training loss over evaluation loss, at every evaluation",
    threshold="between 1.8 and 64 and within 12% of one whole number (the accumulation count, where the log says it) "
    "at the first three evaluations, spread over all of them below 15%; or within 10% of a known count",
    origin="transformers#34191, #35438, #37766: the loss is summed over the micro-batches of a step",
    otherwise="heavy dropout, label smoothing or augmentation in training alone",
    refuted_by="the loss of one training batch in evaluation mode equals the printed one",
    remedy="divide by the number of supervised tokens of the whole step; upgrade transformers; compare by the "
    "evaluation loss until then",
    objectives=LIKELIHOOD,
)
def accumulation_not_normalised(view: View) -> Found | Nothing | Lacks:
    """The training loss is a multiple of the evaluation loss from the start."""
    pairs = [(series, values, there) for series, values, there in paired(view) if np.isfinite(there).sum() >= 3]
    if not pairs:
        return Lacks(what="a training loss at 3 or more evaluations")
    known = view.config.get("accumulation")
    series, values, there = pairs[0]
    kept = np.isfinite(there) & (values > 0)
    ratio = there[kept] / values[kept]
    if len(ratio) < 3:
        return Lacks(what="a positive evaluation loss at 3 places")
    first = ratio[:3]
    count = round(float(np.median(first)))
    near = np.abs(first / max(count, 1) - 1)
    as_known = known is not None and int(known) >= 2 and np.abs(first / int(known) - 1).max() < 0.1
    steady = robust.spread(ratio) < 0.15 * float(np.median(ratio)) or len(ratio) == 3
    if not as_known and not (count >= 2 and first.min() >= 1.8 and first.max() < 64 and near.max() < 0.12 and steady):
        return Nothing(numbers={"train_over_eval_at_start": float(np.median(first))})
    index = np.searchsorted(series.steps, series.steps[kept][:3])
    return Found(
        severity="error" if as_known else "warning",
        statement=f"the training loss is {np.median(first):.2f} times the {series.label} at the first three "
        "evaluations "
        f"({there[kept][0]:.3g} against {values[kept][0]:.3g} at step {series.steps[kept][0]}): about {count} "
        "micro-batches "
        "are summed, not averaged",
        numbers={"ratio": float(np.median(first)), "count": count, "evaluations": len(ratio)},
        evidence=(points(series, index),),
        certainty="likely" if as_known else "possible",
    )


def _steady(ratio: np.ndarray) -> bool:
    """Is a ratio the same throughout: scatter below 8%, both halves within 4%? (The gap of overfitting drifts.)"""
    middle, half = float(np.median(ratio)), len(ratio) // 2
    drift = abs(float(np.median(ratio[:half]) - np.median(ratio[-half:]))) if half else 0.0
    return robust.spread(ratio) < 0.08 * middle and drift < 0.04 * middle


@rule(
    title="Evaluation multiplied",
    needs="an evaluation loss and a training loss at 3 or more common places",
    statistic="evaluation loss over training loss, at every evaluation",
    threshold="median within 3% of a whole number from 2 to 64, 80% of the evaluations within 8%, no drift",
    origin="transformers#35078: evaluation losses summed over devices",
    otherwise="an evaluation set that is that much harder, throughout",
    refuted_by="evaluating on one device gives the same number",
    remedy="gather and average over devices, weighted by tokens",
    objectives=LIKELIHOOD,
)
def evaluation_multiplied(view: View) -> Found | Nothing | Lacks:
    """The evaluation loss is a whole multiple of the training loss from the first evaluation on."""
    pairs = [one for one in paired(view) if np.isfinite(one[2]).sum() >= 3]
    if not pairs:
        return Lacks(what="a training loss at 3 or more evaluations")
    largest = 0.0
    for series, values, there in pairs:
        kept = np.isfinite(there) & (there > 0)
        ratio = values[kept] / there[kept]
        if len(ratio) < 3:
            continue
        count = round(float(np.median(ratio)))
        largest = max(largest, float(np.median(ratio)))
        off = np.abs(ratio / max(count, 1) - 1)
        whole = abs(float(np.median(ratio)) / max(count, 1) - 1) < 0.03 and (off < 0.08).mean() >= 0.8
        if 2 <= count <= 64 and whole and _steady(ratio):
            return Found(
                severity="error",
                statement=f"the {series.label} is {count} times the training loss at all {len(ratio)} evaluations "
                f"({values[kept][0]:.4g} against {there[kept][0]:.4g} at step {series.steps[kept][0]})",
                numbers={"ratio": float(np.median(ratio)), "count": count, "evaluations": len(ratio)},
                evidence=(points(series, np.arange(len(series))),),
            )
    return Nothing(numbers={"eval_over_train": largest})


@rule(
    title="Training and evaluation on different scales",
    needs="an evaluation loss and a training loss at 3 or more common places",
    statistic="evaluation loss over training loss at every evaluation",
    threshold="always below 0.5 or always above 2, with both curves flat (total change below 5%) or the ratio "
    "constant (scatter below 8%, no drift)",
    origin="a log with a training loss of 12.6 and an evaluation loss of 3.73, both flat for 1,200 steps",
    otherwise="objectives that differ on purpose (label smoothing, auxiliary terms, another vocabulary)",
    refuted_by="the same batch gives the same loss in both modes",
    remedy="compute both with one function, in nats per supervised token; only then compare them",
    objectives=LIKELIHOOD,
)
def train_eval_scale_differs(view: View) -> Found | Nothing | Lacks:
    """Both losses cannot be means over tokens of the same kind of text."""
    pairs = [one for one in paired(view) if np.isfinite(one[2]).sum() >= 3]
    if not pairs:
        return Lacks(what="a training loss at 3 or more evaluations")
    series, values, there = pairs[0]
    kept = np.isfinite(there) & (there > 0)
    ratio = values[kept] / there[kept]
    if len(ratio) < 3:
        return Lacks(what="a positive training loss at 3 evaluations")
    apart = bool((ratio < 0.5).all() or (ratio > 2).all())
    flat = all(np.ptp(one) < 0.05 * abs(float(np.median(one))) for one in (values[kept], there[kept]))
    constant = _steady(ratio) and len(ratio) >= 5
    if not apart or not (flat or constant):
        return Nothing(numbers={"eval_over_train": float(np.median(ratio))})
    return Found(
        severity="warning",
        statement=f"the {series.label} is {np.median(ratio):.2f} times the training loss at all {len(ratio)} "
        "evaluations "
        f"({values[kept][0]:.4g} against {there[kept][0]:.4g} at the first): they are not the same function",
        numbers={"ratio": float(np.median(ratio)), "evaluations": len(ratio)},
        evidence=(points(series, [0, len(series) - 1]),),
    )


@rule(
    title="Broken start",
    needs="a training loss from the beginning, and a model that is known to be pretrained (or a token accuracy)",
    statistic="first training loss, in nats; where the vocabulary is known, over its logarithm",
    threshold="above 8 nats for a pretrained model of text without a prefix or a new vocabulary; or above 1.1 times "
    "ln(50,257) = 11.9 with a mean token accuracy below 0.5; still above 4 at the end",
    origin="a fine-tune of a Llama that starts at 12.05 with 27% token accuracy; its mended sibling starts at 1.69",
    otherwise="some models start high by design (mT5 near 25, new embeddings): they fall below 4 soon",
    refuted_by="the untrained model's loss on the same text, computed by hand, is as high",
    remedy="look at the template, the special tokens, quantisation and label alignment before training on",
    objectives=LANGUAGE_MODELING,
)
def broken_start(view: View) -> Found | Nothing | Lacks:
    """A pretrained model that begins as if it had never seen text."""
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
    said = f" and a token accuracy of {accuracy.clean().values[0]:.2f}" if accuracy is not None and poor else ""
    return Found(
        severity="warning",
        statement=f"the {loss.label} starts at {loss.values[0]:.3g}{said} and still is {last:.3g} at the end: a "
        "pretrained "
        "model that is fed right starts below 4",
        numbers={"first_loss": first, "last_loss": last, "entries": len(loss)},
        evidence=(points(loss, [0, 1, 2, len(loss) - 1]),),
        certainty="possible",
    )


@rule(
    title="Loss collapsed to nearly nothing",
    needs="a training loss of language modeling from the beginning, and the epoch",
    statistic="median training loss of the entries within an epoch's first appearance of the data",
    threshold="median of the last third of the first epoch below 0.05 nats, from above 1 nat at the start",
    origin="a summariser whose loss went from 9.25 to 0.0086 at 0.2 epochs; padding counted as labels, or targets "
    "leaked",
    otherwise="text that repeats one template",
    refuted_by="the loss on held-out text, padding left out, is as low, and generated text is right",
    remedy="set padding labels to -100; check that the decoder does not see its own target; look at generated text",
    objectives=LANGUAGE_MODELING,
)
def collapsed_loss(view: View) -> Found | Nothing | Lacks:
    """No text is that predictable the first time it is seen."""
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
    return Found(
        severity="error",
        statement=f"the {loss.label} falls from {start:.3g} to {first.values[below]:.2g} by epoch "
        f"{first.epochs[below]:.2g} and "
        f"to {end:.2g} within the first epoch: {math.exp(end):.4f} tokens of choice, for text seen once",
        numbers={"start": start, "end_of_first_epoch": end, "entries": len(first)},
        evidence=(points(loss, [0, below, len(first) - 1]),),
    )


@rule(
    title="Stuck at the uniform loss",
    needs="a training loss at 5 or more steps",
    statistic="share of entries within 1% of ln(vocabulary), or of a small whole multiple of it",
    threshold="above 10% of the run and 3 entries beyond the first, ending there; or a constant loss at the logarithm "
    "of a common vocabulary or 2 to 16 times it",
    origin="a pretraining log at 54.75 = 5 x ln(57,000) in three runs, then at ln V in the fourth",
    otherwise="a loss that happens to lie there on its way (it must not move)",
    refuted_by="the entropy of the predictions is below ln(vocabulary)",
    remedy="check that the optimizer holds the parameters and steps, that gradients are not 0, and that labels are "
    "shifted",
    objectives=LIKELIHOOD,
)
def stuck_at_uniform(view: View) -> Found | Nothing | Lacks:
    """The model predicts every token with the same probability, and goes on doing so."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 3 or not view.starts_at_beginning:
        return Lacks(what="a training loss from the beginning, at 3 or more steps")
    values = nats(loss)
    known = view.config.get("vocabulary_size")
    level = float(np.median(values))
    sizes = (int(known),) if known else VOCABULARIES
    tolerance = 0.01 if known else 0.002
    hits = [
        (abs(level / (n * math.log(size)) - 1), n, size)
        for size in sizes
        for n in (range(1, 17) if not known else (1,))
    ]
    distance, times, size = min(hits)
    near = np.abs(values - level) < 0.01 * level
    constant = robust.spread(values[1:]) < 0.002 * level and near.mean() > 0.6
    share = float(near.mean())
    at_end = bool(near[-max(len(near) // 10, 1) :].all())
    if distance > tolerance or not at_end or share < 0.6 or level < 3 or not (constant or known):
        return Nothing(numbers={"level": level, "share_there": share})
    of = f"{times} x ln({size:,})" if times > 1 else f"ln({size:,})"
    return Found(
        severity="error",
        statement=f"the {loss.label} stands at {loss.values[-1]:.4g} for {share:.0%} of {len(loss)} entries, which "
        f"is {of} = "
        f"{times * math.log(size):.2f}: every token is given the same probability",
        numbers={"level": level, "uniform_loss": times * math.log(size), "share_there": share, "vocabulary": size},
        evidence=(points(loss, [0, len(loss) - 1]),),
        certainty="likely" if known or len(loss) >= 5 else "possible",
    )


@rule(
    title="Perplexity saturated",
    needs="a perplexity",
    statistic="values that are infinite, or within 1e-6 of e^10, e^20, e^50 or e^100",
    threshold="1 or more",
    origin="transformers#11855; a report whose every evaluation says 485165195.41 = e^20",
    otherwise="a model that really is that bad, at exactly that number",
    refuted_by="the unclamped mean NLL",
    remedy="report exp(mean NLL per token) of plain next-token prediction, never of a composite loss, never clamped",
    objectives=LIKELIHOOD,
)
def saturated_perplexity(view: View) -> Found | Nothing | Lacks:
    """The perplexity is a clamp, and no measurement."""
    found = [one for (_, name), one in view.series.items() if name == "perplexity"]
    if not found:
        return Lacks(what="a perplexity")
    for series in found:
        clamped = np.zeros(len(series), dtype=bool)
        for limit in SATURATED:
            clamped |= np.abs(series.values / limit - 1) < 1e-6
        bad = np.isposinf(series.values) | clamped
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            return Found(
                severity="error",
                statement=f"the {series.label} is {series.values[at]:.10g} at {int(bad.sum())} of {len(series)} "
                "entries: that is "
                + (
                    "an overflow" if np.isposinf(series.values[at]) else f"e^{math.log(series.values[at]):.0f}, a clamp"
                ),
                numbers={"clamped": int(bad.sum()), "entries": len(series), "value": float(series.values[at])},
                evidence=(points(series, bad),),
                certainty="certain",
            )
    return Nothing(numbers={"entries": sum(map(len, found))})


@rule(
    title="Perplexity and loss disagree",
    needs="a perplexity and a loss of the same set at 3 or more common steps",
    statistic="logged perplexity over exp(logged loss)",
    threshold="off by more than 10% in the same direction at 90% of the steps, median off by more than 25%, beyond "
    "rounding",
    origin="transformers#7546: smoothed or composite losses, or perplexities of means of other batches",
    otherwise="a mean of batch perplexities, which lies a few per cent above (Jensen); bits, not nats",
    refuted_by="the formula in the code is exp(mean NLL)",
    remedy="compute perplexity from the plain next-token NLL over all tokens at once",
    objectives=LIKELIHOOD,
)
def perplexity_disagrees(view: View) -> Found | Nothing | Lacks:
    """The two say different things about the same tokens."""
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
            return Found(
                severity="warning",
                statement=f"the {series.label} is {np.median(ratio):.3g} times exp({loss.label}): "
                f"{series.values[right[i]]:.5g} "
                f"against {np.exp(values[i]):.5g} at step {common[i]}",
                numbers={"ratio": float(np.median(ratio)), "steps": int(kept.sum())},
                evidence=(points(series, right[kept]), points(loss, left[kept])),
                certainty="certain",
            )
    return (
        Nothing(numbers={"compared": compared})
        if compared
        else Lacks(what="a perplexity beside a loss of the same set")
    )
