"""Metrics of output quality (ROUGE, BLEU, accuracy, repetition, …): where they contradict the loss or are broken."""

from dataclasses import dataclass

import numpy as np

from ontogeny.diagnosis.objective import SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Series

LEAST_PAIRS = 6
"""Fewest evaluations that have both a loss and a quality metric."""
PLATEAU = 0.02
"""An evaluation loss within this share of its lowest value is on its plateau."""
LEAST_RISE = 0.005
LEAST_GAIN = 0.01
LEAST_EQUAL = 5
LENGTHS = ("gen_len", "generation_length", "generated_length", "prediction_length", "generation/length")
"""Names of the mean length of generated texts."""
_SAME_BY_DEFINITION = (
    {"rouge_l", "rouge_lsum", "rougel", "rougelsum"},
    {"accuracy", "f1", "precision", "recall", "exact_match", "em", "token_accuracy"},
    {"bleu", "sacrebleu"},
    {"rouge1", "rouge_1"},
    {"rouge2", "rouge_2"},
    {"bertscore", "bertscore_f1"},
)
"""Metrics that agree by definition: texts of one sentence, classes averaged by examples, two names of one metric."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LossAndQuality:
    """An evaluation loss and a quality metric at the same evaluations. `sign` is 1 if higher is better, else -1."""

    loss: Series
    quality: Series
    sign: float

    @property
    def good(self) -> np.ndarray:
        """The quality with its sign set so that higher is better. float64 [n]."""
        return self.sign * self.quality.values


def pairs(view: View) -> list[LossAndQuality]:
    """Every quality metric with the loss of its evaluation set, or else the longest, at their common steps."""
    aligned = []
    for quality, rises in view.quality:
        losses = [loss for loss in view.eval_losses if loss.scope == quality.scope] or list(view.eval_losses[:1])
        if losses:
            _, left, right = np.intersect1d(losses[0].steps, quality.steps, return_indices=True)
            sign = 1.0 if rises else -1.0
            aligned.append(LossAndQuality(loss=losses[0].where(left), quality=quality.where(right), sign=sign))
    return [pair for pair in aligned if len(pair.loss) >= LEAST_PAIRS]


_NO_PAIRS = Lacks(what=f"a loss and a quality (ROUGE, BLEU, accuracy, …) at {LEAST_PAIRS} or more common evaluations")


@rule(
    title="Loss rises, quality rises",
    needs="an evaluation loss and a quality (ROUGE, BLEU, accuracy, word error rate, …) at 6 or more common steps",
    statistic="trend of the quality (least squares) since the loss first came within 2% of its lowest value; mean "
    "quality after the lowest loss minus that at the lowest loss, over the scatter about the trend",
    threshold="2 or more evaluations after the lowest loss, the last one above it by max(0.5%, 2 sd of noise); trend "
    "of the quality above 0 with 95% confidence, mean gain above 3 standard errors and 1%",
    origin="open_clip#31; a summariser whose ROUGE-1 rose by 1.4 after its lowest evaluation loss",
    otherwise="texts grew longer, and the metric rewards length; the loss counts tokens that the metric ignores",
    refuted_by="texts generated from both checkpoints with another seed, or a larger sample, show no difference",
    remedy="select checkpoints by the quality (metric_for_best_model), not by the loss, and stop by it, too",
    objectives=SUPERVISED,
)
def loss_up_quality_up(view: View) -> Detection | Nothing | Lacks:
    """The evaluation loss has turned while the quality still rises: the lowest loss is not the best model."""
    paired = pairs(view)
    if not paired:
        return _NO_PAIRS
    detections = [detection for detection in map(_lost_by_loss, paired) if detection is not None]
    if detections:
        return detections[0]
    correlations = {pair.quality.name: robust.change_correlation(pair.loss.values, pair.good).value for pair in paired}
    return Nothing(numbers={f"change_correlation_{name}": round(value, 3) for name, value in correlations.items()})


def _lost_by_loss(pair: LossAndQuality) -> Detection | None:
    loss, good = pair.loss.values, pair.good
    best = int(np.argmin(loss))
    low = float(loss[best])
    noise = robust.noise(loss[best:])
    margin = max(LEAST_RISE * abs(low), 2 * noise if np.isfinite(noise) else 0.0, 2 * pair.loss.step_size)
    after = good[best + 1 :]
    if len(after) < 2 or loss[-1] <= low + margin or np.median(loss[best + 1 :]) <= low + margin / 2:
        return None
    since = min(int(np.argmax(loss <= low * (1 + PLATEAU))), len(loss) - LEAST_PAIRS)
    steps = pair.loss.steps[since:]
    change = robust.trend(steps, good[since:])
    rest = good[since:] - np.polyval(np.polyfit(steps, good[since:], 1), steps)
    sd = float(np.sqrt(np.dot(rest, rest) / (len(rest) - 2)))
    at_lowest = good[max(best - 1, 0) : best + 1]
    gain = float(after.mean() - at_lowest.mean())
    top = best + 1 + int(np.argmax(after))
    most = float(good[top] - good[best])
    scale = abs(float(good[best]))
    if change.low <= 0 or gain <= 3 * sd * np.sqrt(1 / len(after) + 1 / len(at_lowest)) or gain < LEAST_GAIN * scale:
        return None
    values, at = pair.quality.values, pair.loss.steps
    return Detection(
        severity="warning",
        statement=f"{pair.quality.label} went from {values[best]:.4g} at step {at[best]}, where {pair.loss.label} is "
        f"lowest ({low:.4g}), to {values[top]:.4g} at step {at[top]}, while {pair.loss.label} rose by "
        f"{loss[-1] / low - 1:.1%} to the end: selecting by loss loses {most:.3g} ({most / scale:.1%})",
        numbers={
            "gain": most,
            "gain_relative": most / scale if scale else 0.0,
            "mean_gain": gain,
            "scatter_sd": sd,
            "trend": change.value,
            "trend_low": change.low,
            "trend_high": change.high,
            "best_loss_step": int(at[best]),
            "best_quality_step": int(at[top]),
            "evaluations": len(loss),
        },
        evidence=(
            points(pair.loss, np.unique([best, top, len(loss) - 1])),
            points(pair.quality, range(since, len(loss))),
        ),
    )


@rule(
    title="Loss falls, quality falls",
    needs="an evaluation loss and a quality at 6 or more common steps, 5 of them after the best quality",
    statistic="trend of the quality after its best value; mean of its last 3 values against the best; fall of the "
    "loss over the same steps",
    threshold="quality worsens with 95% confidence and its last 3 values are below the best by max(2%, 3 sd of noise), "
    "while the evaluation loss falls by 1% or more beyond its noise",
    origin="trl#733, trl#1790, trl#2875",
    otherwise="the metric's decoding changed (length limit, prompt); the quality rests on few examples",
    refuted_by="on a larger sample, both checkpoints have the same quality",
    remedy="keep the checkpoint of the best quality; read generated texts of both; check that loss and metric use the "
    "same prompts and end-of-text tokens",
    objectives=SUPERVISED,
)
def loss_down_quality_down(view: View) -> Detection | Nothing | Lacks:
    """The evaluation loss improves while generated text gets worse."""
    paired = pairs(view)
    if not paired:
        return _NO_PAIRS
    detections = [detection for detection in map(_worse_by_loss, paired) if detection is not None]
    if not detections:
        return Nothing()
    return max(detections, key=lambda detection: float(detection.numbers["loss_of_quality"]))


def _worse_by_loss(pair: LossAndQuality) -> Detection | None:
    loss, good = pair.loss.values, pair.good
    best = int(np.argmax(good))
    after = good[best + 1 :]
    if len(after) < 5:
        return None
    change = robust.trend(pair.loss.steps[best + 1 :], after)
    noise = max(robust.noise(good), pair.quality.step_size)
    fall, scale = float(good[best] - after[-3:].mean()), abs(float(good[best]))
    loss_trend = robust.trend(pair.loss.steps[best:], loss[best:])
    gained = float(loss[best] - loss[-1])
    if change.high >= 0 or fall < max(0.02 * scale, 3 * noise):
        return None
    if loss_trend.high >= 0 or gained < 0.01 * abs(loss[best]):
        return None
    values, at = pair.quality.values, pair.loss.steps
    return Detection(
        severity="warning",
        statement=f"{pair.quality.label} went from {values[best]:.4g} at step {at[best]} to {values[-3:].mean():.4g} "
        f"(mean of the last 3 up to step {at[-1]}), worse by {fall / scale if scale else 1:.1%}, while "
        f"{pair.loss.label} fell from {loss[best]:.4g} to {loss[-1]:.4g}",
        numbers={
            "loss_of_quality": fall / scale if scale else 1.0,
            "best_step": int(at[best]),
            "noise_sd": noise,
            "trend": change.value,
            "trend_low": change.low,
            "trend_high": change.high,
            "loss_fell_by": gained,
        },
        evidence=(points(pair.quality, range(best, len(good))), points(pair.loss, [best, len(loss) - 1])),
    )


@rule(
    title="Broken metric",
    needs="a quality at 5 or more evaluations, and the evaluation loss at the same steps",
    statistic="number of different values of the quality; evaluations at which two metrics agree in every digit",
    threshold="a single value (0 included, the best possible one excluded) at 5 or more evaluations while the "
    "evaluation loss changes by 2% or more: warning; two different metrics equal at all of 5 or more evaluations: note",
    origin="a metric that cannot change measures nothing; pairs of metrics that are equal by definition are exempt",
    otherwise="very few evaluation examples; a model that answers every example in the same way",
    refuted_by="the metric is perfect with the references as predictions, and poor with shuffled references",
    remedy="compute the metric once with the references as predictions; read decoded predictions and labels (padding "
    "of -100, special tokens, empty strings)",
    objectives=SUPERVISED,
)
def broken_metric(view: View) -> tuple[Detection, ...] | Nothing | Lacks:
    """A quality metric never changes, or duplicates another one."""
    paired = [pair for pair in pairs(view) if len(pair.loss) >= LEAST_EQUAL]
    if not paired:
        return _NO_PAIRS
    detections = [detection for detection in map(_stuck, paired) if detection is not None]
    moving = [pair for pair in paired if len(np.unique(pair.quality.values)) > 1]
    for position, pair in enumerate(moving):
        for other in moving[position + 1 :]:
            names = {pair.quality.name, other.quality.name}
            by_definition = len(names) == 1 or any(names <= family for family in _SAME_BY_DEFINITION)
            if not by_definition and pair.quality.scope == other.quality.scope:
                detections += _equal(pair.quality, other.quality)
    return tuple(detections) or Nothing(numbers={"metrics": len(paired)})


def _stuck(pair: LossAndQuality) -> Detection | None:
    values, loss = pair.quality.values, pair.loss.values
    moved = float(np.ptp(loss) / np.median(np.abs(loss))) if np.median(np.abs(loss)) > 0 else 0.0
    perfect = values[0] in (1.0, 100.0) if pair.sign > 0 else values[0] == 0
    steps = pair.quality.steps
    if len(np.unique(values)) > 1 or perfect or moved < 0.02 or (len(values) < 8 and steps[-1] - steps[0] <= 7):
        return None
    return Detection(
        severity="warning",
        statement=f"{pair.quality.label} is {values[0]:.6g} at all {len(values)} evaluations from step "
        f"{pair.quality.steps[0]} to {pair.quality.steps[-1]}, while {pair.loss.label} varies by {moved:.1%}",
        numbers={"value": float(values[0]), "evaluations": len(values), "loss_moves_relative": moved},
        evidence=(points(pair.quality, range(len(values))),),
    )


def _equal(first: Series, second: Series) -> list[Detection]:
    if len(first) != len(second) or not np.array_equal(first.steps, second.steps):
        return []
    if not np.array_equal(first.values, second.values) or len(np.unique(first.values)) < 3:
        return []
    return [
        Detection(
            severity="note",
            statement=f"{first.label} and {second.label} agree in every digit at all {len(first)} evaluations from "
            f"step {first.steps[0]} to {first.steps[-1]}",
            numbers={"evaluations": len(first)},
            evidence=(points(first, range(len(first))), points(second, range(len(second)))),
        )
    ]


@rule(
    title="Flat quality",
    needs="an evaluation loss and a quality at 6 or more common steps",
    statistic="trend of the quality over all evaluations, relative to its median; fall of the evaluation loss over "
    "the same steps",
    threshold="trend of the quality within 2% and all its values within 5%, while the evaluation loss falls by 5% or "
    "more beyond its noise",
    origin="calibrated on a summariser whose ROUGE-1 changed by 2% while its evaluation loss fell by 6%",
    otherwise="the quality has reached its ceiling on these examples, or is at chance for a model of this size",
    refuted_by="another metric, or a larger sample, follows the loss",
    remedy="read generated texts: length limit, prompt format, end of text; use a metric on which a model of this "
    "size can improve",
    objectives=SUPERVISED,
)
def flat_quality(view: View) -> Detection | Nothing | Lacks:
    """The loss improves and the quality does not."""
    paired = pairs(view)
    if not paired:
        return _NO_PAIRS
    flat, moves = [], {}
    for pair in paired:
        level = float(np.median(np.abs(pair.good)))
        loss = pair.loss
        fell = robust.trend(loss.steps, loss.values)
        if len(np.unique(pair.good)) == 1 or level == 0 or np.abs(pair.good).max() in (1.0, 100.0):
            continue
        change = robust.trend(loss.steps, pair.good).value / level
        moves[f"trend_relative_{pair.quality.name}"] = change
        falls = fell.high < 0 and loss.values[-1] < 0.95 * loss.values[0]
        if falls and abs(change) < 0.02 and np.ptp(pair.good) < 0.05 * level:
            flat.append(pair)
    if not flat:
        return Nothing(numbers=moves)
    loss = flat[0].loss
    ranges = "; ".join(
        f"{pair.quality.label} stays between {pair.quality.values.min():.4g} and {pair.quality.values.max():.4g}"
        for pair in flat
    )
    return Detection(
        severity="note",
        statement=f"{ranges} from step {loss.steps[0]} to {loss.steps[-1]}, while {loss.label} falls by "
        f"{1 - loss.values[-1] / loss.values[0]:.1%}",
        numbers={"loss_fell_relative": 1 - float(loss.values[-1] / loss.values[0]), **moves},
        evidence=(*(points(pair.quality, range(len(pair.loss))) for pair in flat), points(loss, [0, len(loss) - 1])),
        certainty="likely",
    )


@rule(
    title="Generation truncated",
    needs="the mean length of generated texts at 4 or more evaluations (in our own runs also the references' length)",
    statistic="(highest - lowest) / median of the mean length over all evaluations",
    threshold="below 0.2% at 4 or more evaluations: every text ends at the length limit",
    origin="unsloth#416, LLaMA-Factory#1364; a summariser with 19.0 tokens at 11 evaluations (max_length 20)",
    otherwise="the task has answers of a single length (a label, a yes or no)",
    refuted_by="texts end with the end-of-text token before the limit, or references have the same length",
    remedy="raise max_new_tokens (generation_max_length) and evaluate again: so far, the quality is that of truncated "
    "texts; check that the end-of-text token is trained on, not masked as padding",
    objectives=SUPERVISED,
)
def generation_truncated(view: View) -> Detection | Nothing | Lacks:
    """Generated texts have the same mean length at every evaluation: they are truncated."""
    lengths = [series.clean() for (_, name), series in view.series.items() if name in LENGTHS]
    lengths = [series for series in lengths if len(series) >= 4 and np.median(series.values) >= 2]
    if not lengths:
        return Lacks(what="the length of generated texts at 4 or more evaluations")
    spreads = {}
    for series in lengths:
        middle = float(np.median(series.values))
        spreads[f"spread_relative_{series.scope}"] = spread = float(np.ptp(series.values)) / middle
        reference = view.get("generation/reference_length", series.scope)
        ends_so = reference is not None and float(np.nanmedian(reference.values)) > 0.98 * middle
        if spread >= 0.002 or ends_so:
            continue
        limit = round(middle) + 1
        usual = limit in (20, 21, 50, 51) or limit & (limit - 1) == 0 or (limit - 1) & (limit - 2) == 0
        return Detection(
            severity="warning",
            statement=f"{series.label} is {middle:.4g} at all {len(series)} evaluations from step {series.steps[0]} "
            f"to {series.steps[-1]} ({series.values.min():.6g} to {series.values.max():.6g}): texts end at the length "
            "limit",
            numbers={"length_tokens": middle, "spread_relative": spread, "evaluations": len(series)},
            evidence=(points(series, range(len(series))),),
            certainty="certain" if usual and len(series) >= 6 else "likely",
        )
    return Nothing(numbers=spreads)


@rule(
    title="Repetition collapse",
    needs="a share of repeated n-grams, or distinct-2, of generated texts at 6 or more evaluations",
    statistic="median of the last quarter against the median of the best third of the evaluations, without the first "
    "10%; the references' repetition if it is logged",
    threshold="repetition above 0.3, above twice the references' and 0.2 above its best, beyond 3 sd of noise; or "
    "distinct-2 below half of its best, beyond 3 sd of noise",
    origin="torchtune#939; Welleck et al. 2020 (seq-rep-4), Li et al. 2016 (distinct-2)",
    otherwise="greedy decoding of a small model tends to loop: judge by sampled texts",
    refuted_by="texts sampled at temperature 1 do not repeat themselves",
    remedy="take the checkpoint before the rise; lower the learning rate or the number of epochs; look for repeated "
    "text in the training data",
    objectives=SUPERVISED,
)
def repetition_collapse(view: View) -> Detection | Nothing | Lacks:
    """Generated texts become more and more repetitive."""
    repeats = []
    for (_, name), series in view.series.items():
        kind = _repetition_kind(name)
        if kind and len(series.clean()) >= LEAST_PAIRS:
            repeats.append((series.clean(), kind))
    if not repeats:
        return Lacks(what=f"repetition or distinct-2 of generated texts at {LEAST_PAIRS} or more evaluations")
    for series, kind in repeats:
        values = series.values[len(series) // 10 :]
        last = float(np.median(values[-max(len(values) // 4, 3) :]))
        ordered = np.sort(values) if kind == "repetition" else np.sort(values)[::-1]
        best = float(np.median(ordered[: max(len(values) // 3, 2)]))
        noise = robust.noise(values)
        reference = _of_references(view, series)
        if kind == "repetition":
            collapsed = last > max(0.3, 2 * reference, best + 0.2, best + 3 * noise)
        else:
            collapsed = last < min(best / 2, best - 3 * noise)
        if collapsed:
            return Detection(
                severity="warning",
                statement=f"{series.label} went from {best:.3g} (median of its best third) to {last:.3g} (median of "
                f"the last quarter, up to step {series.steps[-1]})",
                numbers={"best": best, "last": last, "noise_sd": noise, "reference": reference},
                evidence=(points(series, range(len(series))),),
            )
    return Nothing(numbers={"series": len(repeats)})


def _of_references(view: View, series: Series) -> float:
    """The same statistic of the references, where one of our runs logged it; else 0."""
    name = series.name.replace("generation/", "generation/reference_").replace("sampled_", "")
    references = view.get(name, series.scope) if name != series.name else None
    return float(np.nanmedian(references.values)) if references is not None else 0.0


def _repetition_kind(name: str) -> str:
    """`repetition` if higher is worse, `distinct` if lower is worse, empty for other series and for references."""
    if "reference" in name:
        return ""
    if "repetition" in name or name.endswith(("rep_4", "rep4", "seq_rep")):
        return "repetition"
    return "distinct" if name.endswith(("distinct_2", "distinct2", "distinct_bigrams")) else ""
