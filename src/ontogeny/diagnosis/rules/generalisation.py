"""Overfitting, memorization, leaks and forgetting: what evaluation losses show."""

import numpy as np

from ontogeny.core.verdicts import Certainty, Severity
from ontogeny.diagnosis.objective import LANGUAGE_MODELING, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.rules.scale import nats, paired
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Series

LEAST_RISE = 0.01
"""Least rise of an overfitted evaluation loss above its lowest value, as a share of it."""
LEAST_EARLY_RISE = 0.05
"""Least rise if the first evaluation is the lowest, or if there are few."""
LEAST_EVALUATIONS = 3
"""Fewest evaluations in a row above the lowest."""
LEAST_DROP_SD = 4.0
"""Least drop between epochs, in standard errors."""
LEAST_PER_EPOCH = 12
"""Fewest entries of an epoch."""


@rule(
    title="Overfitting",
    needs="an evaluation loss at 3 or more steps, 2 of them after its lowest",
    statistic="how far the evaluation losses after the lowest lie above it, in sd of their noise; of 8 or more, also "
    "above the lowest median of three, so that no single lucky value counts",
    threshold="3 or more evaluations in a row, the last included, above best + max(2 sd of noise, 1% of best); if the "
    "training loss rises as well, the last must be 2% above the best; 5% (and no fall in between) if the first is the "
    "lowest, or if there are only 3 or 4 evaluations, which is *possible*; one degree milder while a metric of quality "
    "on held-out text is at its best in the last evaluations",
    origin="transformers#22934; margin calibrated on healthy logs, whose late evaluations vary by up to 0.7%",
    otherwise="from there on, training uses data unlike the evaluation set; dropout or regularisation was changed",
    refuted_by="the rise is absent on another held-out sample, or quality on held-out text still improves",
    remedy="keep the checkpoint at the lowest evaluation loss; for the next run: fewer epochs, a lower learning rate, "
    "or more data",
    objectives=SUPERVISED,
)
def overfitting(view: View) -> Detection | Nothing | Lacks:
    """The evaluation loss has turned upwards and does not return to its lowest value."""
    assessable = [series for series in view.eval_losses if len(series) >= LEAST_EVALUATIONS]
    if not assessable:
        return Lacks(what=f"an evaluation loss at {LEAST_EVALUATIONS} or more steps")
    # where one fell at first, a loss that rose from its first value on is of other text: that is forgetting
    assessable = [series for series in assessable if np.argmin(series.values) > 0] or assessable
    worst: Detection | None = None
    rises = {}
    for series in assessable:
        detection, rise = _overfit(series, view.loss, _still_improving(view, series))
        rises[f"rise_{series.scope}"] = rise
        if detection is not None and (worst is None or rise > float(worst.numbers["rise"])):
            worst = detection
    return worst or Nothing(numbers=rises)


def _still_improving(view: View, loss: Series) -> str:
    """The label of a quality that has improved by 1% since the loss was lowest and ends near its best; or empty."""
    lowest = int(loss.steps[np.argmin(loss.values)])
    for quality, rises in view.quality:
        since = quality.values[quality.steps >= lowest] * (1 if rises else -1)
        least = 0.01 * float(np.abs(since).max(initial=0.0))
        if len(since) >= LEAST_EVALUATIONS and since[-1] - since[0] > least and since.max() - since[-1] < least:
            return quality.label
    return ""


def _is_confident(series: Series, best: int, rise: float, fell: float | None) -> bool:
    """Is a rise from the first evaluation on, or among few, large enough, and steady?"""
    if best > 0 and len(series) >= LEAST_EVALUATIONS + 2:
        return True
    falls_between = bool((np.diff(series.values[best:]) < 0).any()) if len(series) < LEAST_EVALUATIONS + 2 else False
    return rise >= LEAST_EARLY_RISE and not falls_between and not (fell is not None and fell > 0)


def _overfit(series: Series, train: Series | None, improving: str) -> tuple[Detection | None, float]:
    best = int(np.argmin(series.values))
    low, last = float(series.values[best]), float(series.values[-1])
    rise = last / low - 1 if low > 0 else 0.0
    if len(series) >= 8 and last / float(robust.smooth(series.values, 3).min()) - 1 < 0.5 * rise:
        return None, rise  # a single lucky value
    noise = robust.noise(series.values[best:])  # before the lowest value, the steep fall would count as noise
    margin = max(2 * noise if np.isfinite(noise) else 0.0, LEAST_RISE * abs(low), 2 * series.step_size)
    above = series.values > low + margin
    run = len(above) if above.all() else int(np.argmin(above[::-1]))
    fell = _change_of_training(train, int(series.steps[best]))
    is_few = len(series) < LEAST_EVALUATIONS + 2
    if run < (2 if is_few else LEAST_EVALUATIONS) or not _is_confident(series, best, rise, fell):
        return None, rise
    if fell is not None and fell > 0 and rise < 0.02:
        return None, rise
    change = f" while the training loss {'fell' if fell < 0 else 'rose'} by {abs(fell):.3g}" if fell else ""
    statement = (
        f"the {series.label} rose from {low:.4g} at step {series.steps[best]} to {last:.4g} at step "
        f"{series.steps[-1]} (+{rise:.0%}){change}"
    )
    numbers = {
        "best": low,
        "best_step": int(series.steps[best]),
        "last": last,
        "rise": rise,
        "noise_sd": noise,
        "evaluations_above": run,
        "evaluations": len(series),
    }
    shown = np.unique([0, best, *range(len(series) - run, len(series))])
    severity: Severity = "error" if rise > 0.1 and not is_few else "warning"
    if improving:
        severity = "warning" if severity == "error" else "note"
        statement += f"; {improving} still improves"
    certainty: Certainty = "certain" if rise > 0.1 and fell is not None else "likely"
    return Detection(
        severity=severity,
        statement=statement,
        numbers=numbers,
        evidence=(points(series, shown),),
        certainty="possible" if is_few or improving else certainty,
    ), rise


def _change_of_training(train: Series | None, since: int) -> float | None:
    """Change of the training loss after a step: mean of the later half minus mean of the earlier; None if unknown."""
    if train is None:
        return None
    later = train.clean().values[train.clean().steps >= since]
    if len(later) < 4:
        return None
    half = len(later) // 2
    return float(later[half:].mean() - later[:half].mean())


@rule(
    title="Staircase at the epochs",
    needs="a training loss with epochs, 12 or more entries in each of two epochs",
    statistic="drop at the end of an epoch (mean of the last fifth of the epoch minus mean over as many entries after "
    "it), over the standard error of the difference and over the fall within the epoch after its first fifth",
    threshold="a drop above 4 standard errors, above 7% of the loss and above twice the fall within the epoch, at the "
    "first end of an epoch or at half of them",
    origin="transformers#18730, LLaMA-Factory#7485; two foreign logs: 1.097 to 0.761, and 0.409 to 0.320",
    otherwise="the data of each epoch are sorted, easy examples first",
    refuted_by="the loss on held-out text drops in the same way",
    remedy="the drop is memorization of the previous pass: evaluate on held-out text, and train for fewer epochs",
    objectives=LIKELIHOOD,
)
def epoch_staircase(view: View) -> Detection | Nothing | Lacks:
    """The loss drops where the data begin again: examples are memorized."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or not np.isfinite(loss.epochs).all() or len(loss) < 2 * LEAST_PER_EPOCH:
        return Lacks(what="a training loss with its epochs")
    edges = [e for e in range(1, int(np.floor(loss.epochs[-1])) + 1) if loss.epochs[0] < e]
    drops: list[tuple[int, float, float, bool]] = []
    for edge in edges:
        inside = loss.values[(loss.epochs > edge - 1) & (loss.epochs <= edge)]
        after = loss.values[(loss.epochs > edge) & (loss.epochs <= edge + 1)]
        fifth = max(len(inside) // 5, 4)
        if len(inside) < LEAST_PER_EPOCH or len(after) < fifth:
            continue
        tail, head = inside[-fifth:], after[:fifth]
        drop = float(tail.mean() - head.mean())
        error = robust.noise(loss.values[(loss.epochs > edge - 1) & (loss.epochs <= edge + 1)]) * np.sqrt(2 / fifth)
        fall = max(float(inside[fifth : 2 * fifth].mean() - tail.mean()), 0.0)
        steep = drop > LEAST_DROP_SD * error and drop > 0.07 * tail.mean() and drop > 2 * fall
        drops.append((edge, float(tail.mean()), float(head.mean()), bool(steep)))
    if not drops:
        return Lacks(what=f"{LEAST_PER_EPOCH} entries in each of two epochs")
    steep_drops = [drop for drop in drops if drop[3]]
    if not steep_drops or not (drops[0][3] or len(steep_drops) >= len(drops) / 2):
        return Nothing(numbers={"edges": len(drops), "steps": len(steep_drops)})
    edge, before, behind, _ = steep_drops[0]
    index = np.searchsorted(loss.epochs, [edge for edge, *_ in steep_drops])
    in_all = f", and it drops at {len(steep_drops)} of {len(drops)} ends of epochs" if len(drops) > 1 else ""
    unevaluated = "" if view.eval_losses else "; nothing was evaluated"
    return Detection(
        severity="note" if view.eval_losses else "warning",
        statement=f"the {loss.label} drops between epochs: {before:.3g} before the end of epoch {edge}, {behind:.3g} "
        f"after it{in_all}{unevaluated}",
        numbers={"edges": len(drops), "steps": len(steep_drops), "before": before, "after": behind},
        evidence=(points(loss, np.unique(np.clip(np.concatenate([index - 1, index]), 0, len(loss) - 1))),),
    )


@rule(
    title="Evaluation loss too low to be true",
    needs="an evaluation loss of language modeling at 3 or more steps",
    statistic="lowest evaluation loss, in nats; last training loss",
    threshold="evaluation loss below 0.1 nats (perplexity below 1.11), from above 1 nat, with a training loss below "
    "0.5",
    origin="a run whose validation perplexity falls from 731.9 to 1.07 while comparable runs end at 150: the causal "
    "mask was broken",
    otherwise="one template repeated; held-out text that is a copy of the training text; a mask or a shift that lets "
    "the model see its target",
    refuted_by="text generated from the model is as good as that perplexity suggests",
    remedy="print the labels of one evaluation batch: padding and prompt tokens must be -100; then check training and "
    "validation sets for duplicates, the causal mask and the label shift; read generated text",
    objectives=LANGUAGE_MODELING,
)
def suspected_leak(view: View) -> Detection | Nothing | Lacks:
    """Held-out text is not that predictable: easy tokens are counted, or the model sees its target."""
    assessable = [series for series in view.eval_losses if len(series) >= 3]
    if not assessable:
        return Lacks(what="an evaluation loss at 3 or more steps")
    lowest = min(assessable, key=lambda series: float(nats(series).min()))
    training = nats(view.loss.clean()) if view.loss is not None else np.array([])
    low = float(nats(lowest).min())
    first = max(float(nats(lowest)[0]), float(training[0]) if len(training) else 0.0)
    train = float(training[-1]) if len(training) else np.nan
    if low >= 0.1 or first < 1.0 or not train < 0.5 or low < 0:
        return Nothing(numbers={"lowest_evaluation_loss": low})
    return Detection(
        severity="error",
        statement=f"the {lowest.label} falls to {low:.3g} (perplexity {np.exp(low):.2f}) by step "
        f"{lowest.steps[int(np.argmin(lowest.values))]}: held-out text is not that predictable. First suspect padding "
        "or prompt tokens among the labels, last a leak",
        numbers={"lowest": low, "perplexity": float(np.exp(low)), "first": first, "training_loss": float(train)},
        evidence=(points(lowest, np.arange(len(lowest))),),
    )


@rule(
    title="Many epochs, no evaluation",
    needs="a training loss with epochs",
    statistic="epochs trained without any evaluation, and the fall of the training loss over them",
    threshold="3 or more epochs, a fall to below half of the first loss, 20 or more entries, no evaluation",
    origin="a fine-tune of 15 epochs, from 1.455 to 0.595, without a single evaluation",
    otherwise="evaluations are logged elsewhere",
    refuted_by="an evaluation loss, computed on the saved checkpoints, falls to the end",
    remedy="hold out a few per cent of the data and evaluate; measure saved checkpoints afterwards (`ontogeny measure "
    "--checkpoints`)",
    objectives=LIKELIHOOD,
)
def no_evaluation(view: View) -> Detection | Nothing | Lacks:
    """This log cannot show whether the model generalises or memorizes."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 20 or not np.isfinite(loss.epochs).all():
        return Lacks(what="a training loss at 20 or more steps with its epochs")
    epochs = float(loss.epochs[-1] - max(loss.epochs[0], 0.0))
    first, last = robust.ends(loss.values)
    share = float(np.median(last) / np.median(first)) if np.median(first) > 0 else 1.0
    if epochs < 3 or share > 0.5 or any(scope != "train" for scope, _ in view.series):
        return Nothing(numbers={"epochs": epochs, "last_over_first": share})
    return Detection(
        severity="note",
        statement=f"{epochs:.1f} epochs without an evaluation, while the {loss.label} fell from {np.median(first):.3g} "
        f"to {np.median(last):.3g}: generalisation and memorization cannot be told apart",
        numbers={"epochs": epochs, "first": float(np.median(first)), "last": float(np.median(last))},
        evidence=(points(loss, [0, len(loss) - 1]),),
        certainty="certain",
    )


@rule(
    title="Wide generalisation gap",
    needs="a training and an evaluation loss at 5 or more common steps",
    statistic="evaluation loss minus training loss at the first and at the last evaluations",
    threshold="gap at the end above 20% of the evaluation loss and above 3 times the gap at the first evaluations, "
    "while the evaluation loss fell by less than 0.2% over its last quarter",
    origin="a run with 3.66 in training and 5.11 in validation",
    otherwise="the evaluation text is of another kind",
    refuted_by="training text that was held out for one epoch has the lower loss, too",
    remedy="more data or fewer epochs; longer training will lower the training loss only",
    objectives=LIKELIHOOD,
)
def generalisation_gap(view: View) -> Detection | Nothing | Lacks:
    """The training loss keeps falling, and the evaluation loss does not."""
    for series, values, training in paired(view):
        kept = np.isfinite(training) & np.isfinite(values)
        if kept.sum() < 5:
            continue
        gap = values[kept] - training[kept]
        early, late = float(np.median(gap[:2])), float(np.median(gap[-3:]))
        level = float(np.median(values[kept][-3:]))
        quarter = values[kept][-max(int(kept.sum()) // 4, 3) :]
        flat = quarter[-1] > 0.998 * quarter[0]
        wide = late > 0.2 * level and late > 3 * max(early, 0.0) and level > 0
        if not wide or not flat or isinstance(overfitting.check(view), Detection):
            return Nothing(numbers={"gap_at_start": early, "gap_at_end": late})
        return Detection(
            severity="note",
            statement=f"the {series.label} ends at {level:.3g}, {late:.3g} above the training loss, and no longer "
            f"falls; at the start the gap was {early:.2g}",
            numbers={"gap_at_start": early, "gap_at_end": late, "evaluation": level},
            evidence=(points(series, [0, len(series) // 2, len(series) - 1]),),
        )
    return Lacks(what="a training and an evaluation loss at 5 or more common steps")


@rule(
    title="Forgetting",
    needs="the losses of two or more evaluation sets at 4 or more steps",
    statistic="rise of one set's loss above its first value, over its noise; largest fall of another set's loss",
    threshold="median of the last three above the first by 2% and 3 sd of noise, while another set's loss fell by 2% "
    "or more",
    origin="litgpt#1517, peft#2925",
    otherwise="the rising set is held-out text of the training domain: then it is overfitting (its loss falls first)",
    refuted_by="the rise is absent with a lower learning rate that reaches the same loss on the new domain",
    remedy="mix in general text (replay), lower the learning rate, or use LoRA; choose the checkpoint by both losses",
    objectives=LIKELIHOOD,
)
def forgetting(view: View) -> Detection | Nothing | Lacks:
    """One evaluation set gets worse while another gets better: earlier knowledge is lost."""
    sets = [series for series in view.eval_losses if len(series) >= 4 and series.values[0] > 0]
    if len(sets) < 2:
        return Lacks(what="the losses of two evaluation sets at 4 or more steps")
    change = {series.scope: float(np.median(series.values[-3:]) / series.values[0] - 1) for series in sets}
    fell = min(float(series.values.min() / series.values[0]) - 1 for series in sets)
    for series in sets:
        noise = robust.noise(series.values)
        start, end = float(series.values[0]), float(series.values[-1])
        rise = float(np.median(series.values[-3:]) - start)
        never_fell = float(series.values.min()) > 0.98 * start  # else it is overfitting
        if rise > max(0.02 * start, 3 * noise if np.isfinite(noise) else 0) and fell < -0.02 and never_fell:
            return Detection(
                severity="warning",
                statement=f"the {series.name} of '{series.scope}' rises from {start:.4g} to {end:.4g} "
                f"(+{end / start - 1:.0%}) while that of another set fell by {-fell:.0%}: forgetting",
                numbers={f"change_{scope}": value for scope, value in change.items()},
                evidence=(points(series, [0, len(series) // 2, len(series) - 1]),),
            )
    return Nothing(numbers={f"change_{scope}": value for scope, value in change.items()})
