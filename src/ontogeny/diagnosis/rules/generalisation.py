"""Training that goes on past the point where it helps: what evaluation losses tell."""

import numpy as np

from ontogeny.diagnosis.objective import LANGUAGE_MODELING, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Found, Lacks, Nothing, points, rule
from ontogeny.diagnosis.rules.scale import nats, paired
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Series

LEAST_RISE = 0.01
LEAST_EVALUATIONS = 3
LEAST_DROP_SD = 4.0
LEAST_PER_EPOCH = 12


@rule(
    title="Overfitting",
    needs="an evaluation loss at 5 or more steps, 3 of them after its lowest",
    statistic="lowest evaluation loss, and how far all later ones lie above it, in units of its own noise",
    threshold="3 or more evaluations in a row, the last included, above best + max(2 sd of noise, 1% of best); where "
    "the training loss rises as well, the last must be 2% above",
    origin="transformers#22934; margin calibrated on healthy logs, whose late evaluations wobble by up to 0.7%",
    otherwise="the evaluation set differs from what is trained on from there on; dropout or regularisation was changed",
    refuted_by="the same rise on another held-out sample is absent, or quality on held-out text still improves",
    remedy="keep the checkpoint at the lowest evaluation loss; for the next run: fewer epochs, a lower learning rate, "
    "or more data",
    objectives=SUPERVISED,
)
def overfitting(view: View) -> Found | Nothing | Lacks:
    """The evaluation loss has turned and does not come back."""
    assessable = [one for one in view.eval_losses if len(one) >= LEAST_EVALUATIONS + 2]
    if not assessable:
        return Lacks(what=f"an evaluation loss at {LEAST_EVALUATIONS + 2} or more steps")
    worst: Found | None = None
    rises = {}
    for series in assessable:
        found, rise = _overfit(series, view.loss)
        rises[f"rise_{series.scope}"] = rise
        if found is not None and (worst is None or rise > float(worst.numbers["rise"])):
            worst = found
    return worst or Nothing(numbers=rises)


def _overfit(series: Series, train: Series | None) -> tuple[Found | None, float]:
    best = int(np.argmin(series.values))
    low, last = float(series.values[best]), float(series.values[-1])
    rise = last / low - 1 if low > 0 else 0.0
    noise = robust.noise(series.values[best:])  # the steep beginning is no noise
    margin = max(2 * noise if np.isfinite(noise) else 0.0, LEAST_RISE * abs(low), 2 * series.step_size)
    above = series.values > low + margin
    run = len(above) if above.all() else int(np.argmin(above[::-1]))
    if run < LEAST_EVALUATIONS or (best == 0 and run >= len(series) - 1):
        return None, rise
    fell = _change_of_training(train, int(series.steps[best]))
    if fell is not None and fell > 0 and rise < 0.02:
        return None, rise
    statement = (
        f"the {series.label} rose from {low:.4g} at step {series.steps[best]} to {last:.4g} at step "
        f"{series.steps[-1]} (+{rise:.0%})"
        + (f" while the training loss {'fell' if fell < 0 else 'rose'} by {abs(fell):.3g}" if fell else "")
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
    return Found(
        severity="error" if rise > 0.1 else "warning",
        statement=statement,
        numbers=numbers,
        evidence=(points(series, shown),),
        certainty="certain" if rise > 0.1 and fell is not None else "likely",
    ), rise


def _change_of_training(train: Series | None, since: int) -> float | None:
    """How the training loss moved after a step: mean of its later half minus that of the earlier; None unknown."""
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
    statistic="mean of the fifth of an epoch before its end minus mean of the fifth after it, over the noise of these "
    "means; and that drop over the fall inside the epoch after its first fifth",
    threshold="a drop above 4 standard errors, above 7% of the loss and twice the fall inside the epoch, at the first "
    "edge or at half of all",
    origin="transformers#18730, LLaMA-Factory#7485; two foreign logs: 1.097 | 0.761 and 0.409 | 0.320 at the edges",
    otherwise="the data of one epoch are sorted, easy first",
    refuted_by="the loss on held-out text makes the same step",
    remedy="the step is what is remembered from the last pass: evaluate on held-out text, and train for fewer epochs",
    objectives=LIKELIHOOD,
)
def epoch_staircase(view: View) -> Found | Nothing | Lacks:
    """The loss steps down where the data begin again: examples are remembered."""
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
    steps = [one for one in drops if one[3]]
    if not steps or not (drops[0][3] or len(steps) >= len(drops) / 2):
        return Nothing(numbers={"edges": len(drops), "steps": len(steps)})
    edge, before, behind, _ = steps[0]
    index = np.searchsorted(loss.epochs, [one[0] for one in steps])
    return Found(
        severity="note" if view.eval_losses else "warning",
        statement=f"the {loss.label} steps down at the epochs: {before:.3g} before epoch {edge} ends, {behind:.3g} "
        "after it"
        + (f", and at {len(steps)} of {len(drops)} edges in all" if len(drops) > 1 else "")
        + ("" if view.eval_losses else "; nothing was evaluated"),
        numbers={"edges": len(drops), "steps": len(steps), "before": before, "after": behind},
        evidence=(points(loss, np.unique(np.clip(np.concatenate([index - 1, index]), 0, len(loss) - 1))),),
    )


@rule(
    title="Suspected leak",
    needs="an evaluation loss at 3 or more steps, of language modeling",
    statistic="lowest evaluation loss, in nats; evaluation loss against training loss",
    threshold="evaluation loss below 0.1 nats (perplexity below 1.11), from above 1 nat, with a training loss below "
    "0.5",
    origin="a run whose validation perplexity falls from 731.9 to 1.07 while its siblings end at 150: the causal mask "
    "was broken",
    otherwise="held-out text that is a copy of the training text (check the overlap), or one template repeated",
    refuted_by="text generated from the model is as good as that perplexity says",
    remedy="check the causal mask and the label shift; check train and validation for duplicates; let the model "
    "generate",
    objectives=LANGUAGE_MODELING,
)
def suspected_leak(view: View) -> Found | Nothing | Lacks:
    """No held-out text is that predictable: the target is seen."""
    assessable = [one for one in view.eval_losses if len(one) >= 3]
    if not assessable:
        return Lacks(what="an evaluation loss at 3 or more steps")
    lowest = min(assessable, key=lambda one: float(nats(one).min()))
    training = nats(view.loss.clean()) if view.loss is not None else np.array([])
    low = float(nats(lowest).min())
    first = max(float(nats(lowest)[0]), float(training[0]) if len(training) else 0.0)
    train = float(training[-1]) if len(training) else np.nan
    if low >= 0.1 or first < 1.0 or not train < 0.5 or low < 0:
        return Nothing(numbers={"lowest_evaluation_loss": low})
    return Found(
        severity="error",
        statement=f"the {lowest.label} comes down to {low:.3g} (perplexity {np.exp(low):.2f}) by step "
        f"{lowest.steps[int(np.argmin(lowest.values))]}: held-out text is not that predictable unless the target is "
        "seen",
        numbers={"lowest": low, "perplexity": float(np.exp(low)), "first": first, "training_loss": float(train)},
        evidence=(points(lowest, np.arange(len(lowest))),),
    )


@rule(
    title="Many epochs, no evaluation",
    needs="a training loss with epochs",
    statistic="epochs trained without any evaluation, and the fall of the training loss over them",
    threshold="3 or more epochs, a fall to below half of the first loss, 20 or more entries, no evaluation",
    origin="a fine-tune of 15 epochs, 1.455 to 0.595, without one evaluation",
    otherwise="evaluations are logged elsewhere",
    refuted_by="an evaluation of the saved checkpoints that falls to the end",
    remedy="hold out a few per cent and evaluate; look at saved checkpoints afterwards (`ontogeny measure "
    "--checkpoints`)",
    objectives=LIKELIHOOD,
)
def no_evaluation(view: View) -> Found | Nothing | Lacks:
    """Whether it learned or memorized cannot be told from this log."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 20 or not np.isfinite(loss.epochs).all():
        return Lacks(what="a training loss at 20 or more steps with its epochs")
    epochs = float(loss.epochs[-1] - max(loss.epochs[0], 0.0))
    first, last = robust.ends(loss.values)
    share = float(np.median(last) / np.median(first)) if np.median(first) > 0 else 1.0
    if epochs < 3 or share > 0.5 or any(scope != "train" for scope, _ in view.series):
        return Nothing(numbers={"epochs": epochs, "last_over_first": share})
    return Found(
        severity="note",
        statement=f"{epochs:.1f} epochs without an evaluation, while the {loss.label} fell from "
        f"{np.median(first):.3g} to "
        f"{np.median(last):.3g}: learning and memorizing cannot be told apart",
        numbers={"epochs": epochs, "first": float(np.median(first)), "last": float(np.median(last))},
        evidence=(points(loss, [0, len(loss) - 1]),),
        certainty="certain",
    )


@rule(
    title="Wide generalisation gap",
    needs="a training and an evaluation loss at 5 or more common places",
    statistic="evaluation loss minus training loss at the start and at the end",
    threshold="gap at the end above 20% of the evaluation loss and at least 3 times that of the first evaluations, "
    "while the evaluation loss fell by less than 1% over its last quarter",
    origin="a run with 3.66 in training and 5.11 in validation",
    otherwise="evaluation text of another kind",
    refuted_by="the training text held out of one epoch gives the lower loss",
    remedy="more data or fewer epochs; more training will lower the training loss alone",
    objectives=LIKELIHOOD,
)
def generalisation_gap(view: View) -> Found | Nothing | Lacks:
    """Training goes on to fall, evaluation does not follow."""
    for series, values, there in paired(view):
        kept = np.isfinite(there) & np.isfinite(values)
        if kept.sum() < 5:
            continue
        gap = values[kept] - there[kept]
        early, late = float(np.median(gap[:2])), float(np.median(gap[-3:]))
        level = float(np.median(values[kept][-3:]))
        quarter = values[kept][-max(int(kept.sum()) // 4, 3) :]
        flat = quarter[-1] > 0.998 * quarter[0]
        wide = late > 0.2 * level and late > 3 * max(early, 0.0) and level > 0
        if not wide or not flat or isinstance(overfitting.check(view), Found):
            return Nothing(numbers={"gap_at_start": early, "gap_at_end": late})
        return Found(
            severity="note",
            statement=f"the {series.label} ends at {level:.3g}, {late:.3g} above the training loss; at the start the "
            "gap was "
            f"{early:.2g}, and the evaluation no longer falls",
            numbers={"gap_at_start": early, "gap_at_end": late, "evaluation": level},
            evidence=(points(series, [0, len(series) // 2, len(series) - 1]),),
        )
    return Lacks(what="a training and an evaluation loss at 5 or more common places")


@rule(
    title="Forgetting",
    needs="the losses of two or more evaluation sets at 4 or more steps",
    statistic="rise of one set's loss over its first value, against the best fall of another's, over the noise",
    threshold="the last three above the first by 2% and 3 sd of noise, while another set fell by 2% or more",
    origin="litgpt#1517, peft#2925",
    otherwise="the rising set is held-out text of what is trained: then it is overfitting (it falls first)",
    refuted_by="the rise is absent with a lower learning rate and the same new-domain loss",
    remedy="mix in text of the general kind (replay), lower the learning rate, or use LoRA; choose by both losses",
    objectives=LIKELIHOOD,
)
def forgetting(view: View) -> Found | Nothing | Lacks:
    """What was known before gets lost while something else is learned."""
    sets = [one for one in view.eval_losses if len(one) >= 4 and one.values[0] > 0]
    if len(sets) < 2:
        return Lacks(what="the losses of two evaluation sets at 4 or more steps")
    change = {one.scope: float(np.median(one.values[-3:]) / one.values[0] - 1) for one in sets}
    fell = min(float(one.values.min() / one.values[0]) - 1 for one in sets)
    for one in sets:
        noise = robust.noise(one.values)
        rise = float(np.median(one.values[-3:]) - one.values[0])
        never_fell = float(one.values.min()) > 0.98 * float(one.values[0])
        if rise > max(0.02 * one.values[0], 3 * noise if np.isfinite(noise) else 0) and fell < -0.02 and never_fell:
            return Found(
                severity="warning",
                statement=f"the {one.name} of '{one.scope}' rises from {one.values[0]:.4g} to {one.values[-1]:.4g} "
                f"(+{change[one.scope]:.0%}) while another set's fell by {-fell:.0%}: what was known is being lost",
                numbers={f"change_{scope}": value for scope, value in change.items()},
                evidence=(points(one, [0, len(one) // 2, len(one) - 1]),),
            )
    return Nothing(numbers={f"change_{scope}": value for scope, value in change.items()})
