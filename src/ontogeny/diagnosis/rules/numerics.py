"""NaN, losses of exactly 0, and gradients that vanish, explode or are always clipped."""

import numpy as np

from ontogeny.diagnosis.clipping import DEFAULT_KEY, always_clipped
from ontogeny.diagnosis.dead_signals import is_dead, is_masked, nan_beside
from ontogeny.diagnosis.objective import EVERY, LIKELIHOOD, SUPERVISED, ObjectiveKind
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import TRAIN, Series

BENIGN_SHARE = 0.02
"""A loss scaler searches for its scale in the first steps: NaN there that recovers is benign. Share of the entries."""
LEAST_NAN = 3
LEAST_ZEROS = 2
VANISHED = 1e-8
"""A gradient norm below this is 0 for practical purposes."""
LEAST_VANISHED = 5
EXPLODED = 100.0
"""Ratio of a gradient norm to the median before it."""
LEAST_NORM = 10.0
"""Smaller gradient norms do not count as explosions, whatever their ratio."""


@rule(
    title="Loss is not a number",
    needs="a loss",
    statistic="entries of a loss that are NaN or infinite, and whether the loss is finite again after them",
    threshold="to the end of the log, or 3 or more entries outside the first 2%: error; 1 or 2 that recover: note",
    origin="transformers#13619; two of the foreign logs end in NaN",
    otherwise="the log prints NaN for a value that was not computed at that step",
    refuted_by="the weights in a checkpoint after the first NaN are finite",
    remedy="go back to the checkpoint before the first NaN; lower the learning rate, clip gradients, switch from fp16 "
    "to bf16, and look at the batch of that step",
    objectives=EVERY,
)
def nan_loss(view: View) -> Detection | Nothing | Lacks:
    """A loss became NaN or infinite."""
    losses = [series for (_, name), series in view.series.items() if name == "loss"]
    if not losses:
        return Lacks(what="a loss")
    if is_masked(view):
        return Lacks(what="a label that counts (see masked_labels)")
    left_out = _left_out(view)
    if left_out is not None:
        return left_out
    broken = [series for series in losses if not series.finite.all()]
    if not broken:
        return Nothing(numbers={"entries": sum(map(len, losses))})
    series = max(broken, key=lambda series: int((~series.finite).sum()))
    bad = np.flatnonzero(~series.finite)
    to_end = not series.finite[-1]
    late = int((bad >= max(BENIGN_SHARE * len(series), 1)).sum())
    first = int(bad[0])
    before = f" (the value before was {series.values[first - 1]:.4g})" if first else ", from its first entry on"
    where = f"the {series.label} is {series.values[first]} at step {series.steps[first]}{before}"
    numbers = {"not_finite": len(bad), "entries": len(series), "first_step": int(series.steps[first])}
    shown = points(series, np.unique(np.concatenate([[max(first - 1, 0)], bad])))
    if to_end:
        tail = f"{where} and not finite from step {series.steps[_tail_start(series)]} to the end of the log"
        remedy = (
            _REMEDY_OF_EVALUATION if series.scope != TRAIN and first == 0 else _REMEDY_AT_START if not first else ""
        )
        return Detection(
            severity="error", statement=tail, numbers=numbers, evidence=(shown,), certainty="certain", remedy=remedy
        )
    if late >= LEAST_NAN:
        again = f"{where}, and at {len(bad)} of {len(series)} entries in all"
        return Detection(severity="error", statement=again, numbers=numbers, evidence=(shown,), certainty="certain")
    if late == 0:
        return Nothing(numbers=numbers)
    return Detection(
        severity="note",
        statement=f"{where}, and finite again afterwards",
        numbers=numbers,
        evidence=(shown,),
        certainty="certain",
    )


_REMEDY_OF_EVALUATION = (
    "the evaluation gives NaN from its first time on: print the labels of one evaluation batch (if all are -100, the "
    "mean over no tokens is NaN); evaluate in bf16 or fp32; the checkpoints may be sound"
)
_REMEDY_AT_START = (
    "it is NaN from the first entry on: look at the labels of one batch (if all are -100, the mean over no tokens is "
    "NaN), at the precision (bf16 instead of fp16), and at the weights that were loaded"
)


def _left_out(view: View) -> Detection | None:
    """A loss that is no longer printed while the gradient norm is NaN: Megatron leaves a NaN loss out."""
    loss, norm = view.loss, view.grad_norm
    if loss is None or norm is None or not len(loss):
        return None
    later = norm.where(norm.steps > loss.steps[-1])
    if len(later) < LEAST_NAN or later.finite.any():
        return None
    return Detection(
        severity="error",
        statement=f"the {loss.label} is not printed after step {loss.steps[-1]} (it was {loss.values[-1]:.4g}), and "
        f"the {norm.label} is {later.values[0]} from step {later.steps[0]} to {later.steps[-1]}: the loss is NaN there",
        numbers={"not_finite": len(later), "entries": len(norm), "first_step": int(later.steps[0])},
        evidence=(points(loss, [len(loss) - 1]), points(later, np.arange(len(later)))),
        certainty="certain",
    )


def _tail_start(series: Series) -> int:
    finite = np.flatnonzero(series.finite)
    return int(finite[-1]) + 1 if len(finite) else 0


@rule(
    title="NaN behind a finite loss",
    needs="a gradient norm and a training loss",
    statistic="entries with a gradient norm that is NaN or infinite while the loss printed at the same step is finite",
    threshold="3 or more outside the first 2% of the entries (in fp16, also 5% of them)",
    origin="trl#6702, transformers#13619: logging_nan_inf_filter replaces a NaN loss by the running mean",
    otherwise="a loss scaler that skips an overflowing step now and then, which is harmless",
    refuted_by="with logging_nan_inf_filter=False, the loss is finite at these steps",
    remedy="set logging_nan_inf_filter=False to see the true loss; look at the data of these steps; use bf16",
    objectives=EVERY,
)
def hidden_nan(view: View) -> Detection | Nothing | Lacks:
    """The gradient is NaN or infinite while the printed loss looks normal."""
    if view.grad_norm is None or view.loss is None:
        return Lacks(what="a gradient norm and a training loss")
    if is_masked(view):
        return Lacks(what="a label that counts (see masked_labels)")
    norm = view.grad_norm
    bad = ~norm.finite & np.isin(norm.steps, view.loss.steps[view.loss.finite])
    late = np.flatnonzero(bad)[np.flatnonzero(bad) >= BENIGN_SHARE * len(norm)]
    if view.config.get("fp16") and len(late) < 0.05 * len(norm):
        late = late[:0]  # a loss scaler that skips overflowing steps
    if len(late) < LEAST_NAN:
        return Nothing(numbers={"hidden": int(bad.sum()), "entries": len(norm)})
    return Detection(
        severity="error",
        statement=f"the gradient norm is not finite at {len(late)} of {len(norm)} entries, first at step "
        f"{norm.steps[late[0]]}, while the loss printed there is finite: the printed loss hides it",
        numbers={"hidden": len(late), "entries": len(norm), "first_step": int(norm.steps[late[0]])},
        evidence=(points(norm, late),),
        certainty="likely",
    )


@rule(
    title="Loss falls to exactly 0",
    needs="a training loss at 5 or more steps that was above 0.1",
    statistic="run of entries that are exactly 0, after an entry above 0.1",
    threshold="2 or more in a row, after 3 finite entries above 0.1 or with a gradient norm of NaN or 0; or from one "
    "of the first 3 entries on, to the end and at 90% of 10 or more entries: warning",
    origin="LLaMA-Factory#7263, #8088: the printed loss is 0.0 once gradients are NaN",
    otherwise="a memorized set in a log that rounds to few decimals: then the loss approaches 0 gradually",
    refuted_by="the unrounded loss at these steps is above 0",
    remedy="training has stopped from there on: go back to the last checkpoint before it, change precision (bf16) or "
    "attention implementation, and look for empty labels",
    objectives=SUPERVISED,
)
def zero_loss(view: View) -> Detection | Nothing | Lacks:
    """The loss drops to exactly 0 from one entry to the next."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 5:
        return Lacks(what="a training loss at 5 or more steps")
    zero = loss.values == 0
    starts = np.flatnonzero(zero & ~np.concatenate([[True], zero[:-1]])).tolist()
    for start in starts:
        run = int(np.argmin(zero[start:])) if not zero[start:].all() else len(zero) - int(start)
        dropped = start >= 3 and bool((loss.values[start - 3 : start] > 0.1).all())
        if run >= LEAST_ZEROS and (dropped or (loss.values[start - 1] > 0.1 and _dead_gradient(view, loss, start))):
            return Detection(
                severity="error",
                statement=f"the {loss.label} falls from {loss.values[start - 1]:.4g} at step {loss.steps[start - 1]} "
                f"to exactly 0 at step {loss.steps[start]} and stays there for {run} entries",
                numbers={"zeros": run, "before": float(loss.values[start - 1]), "first_step": int(loss.steps[start])},
                evidence=(points(loss, np.arange(max(start - 2, 0), min(start + run, start + 8))),),
                certainty="certain",
            )
    start = starts[0] if starts else 0
    if 0 < start <= 3 and len(loss) >= 10 and zero[start:].all():
        return Detection(
            severity="warning",
            statement=f"the {loss.label} is {loss.values[start - 1]:.4g} at step {loss.steps[start - 1]}, then exactly "
            f"0 at all {len(loss) - start} entries from step {loss.steps[start]} on: nothing is learned after it",
            numbers={"zeros": len(loss) - start, "before": float(loss.values[start - 1])},
            evidence=(points(loss, np.arange(min(start + 6, len(loss)))),),
            otherwise="a handful of examples known by heart",
            remedy="print the labels of one batch: does any count (is not -100)? Count the examples: with a handful, "
            "more steps teach nothing",
        )
    return Nothing(numbers={"zeros": int(zero.sum())})


def _dead_gradient(view: View, loss: Series, start: int) -> bool:
    norm = view.grad_norm
    if norm is None:
        return False
    later = norm.values[norm.steps >= loss.steps[start]]
    return len(later) >= LEAST_ZEROS and not (np.isfinite(later) & (later > 0)).any()


@rule(
    title="Every label masked",
    needs="a training loss at 5 or more steps",
    statistic="share of entries that are exactly 0",
    threshold="the first 5 entries and at least 95% of all; of fewer entries, all, with a gradient norm or an "
    "evaluation loss of NaN",
    origin="trl#6668: completion-only masking finds no completion, and the mean over no tokens is 0",
    otherwise="an objective that is 0 by design, in a log that does not show it",
    refuted_by="a batch has labels other than -100",
    remedy="print the labels of one batch; fix the chat template or the response marker that the mask looks for",
    objectives=SUPERVISED,
)
def masked_labels(view: View) -> Detection | Nothing | Lacks:
    """The loss is 0 from the first entry: no token is supervised."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or (len(loss) < 5 and not is_masked(view)):
        return Lacks(what="a training loss at 5 or more steps")
    share = float((loss.values == 0).mean())
    if not (loss.values[:5] == 0).all() or share < 0.95:
        return Nothing(numbers={"share_zero": share})
    nan = f", and the {nan_beside(view)} is NaN" if nan_beside(view) else ""
    return Detection(
        severity="error",
        statement=f"the {loss.label} is exactly 0 from its first entry on ({share:.0%} of {len(loss)} entries){nan}: "
        "no token is supervised",
        numbers={"share_zero": share, "entries": len(loss)},
        evidence=(points(loss, np.arange(min(5, len(loss)))),),
        certainty="likely",
    )


@rule(
    title="Gradient vanished",
    needs="a gradient norm at 10 or more steps",
    statistic="longest run of entries with a gradient norm below 1e-8",
    threshold="5 or more in a row, at the end of the log or over more than 5% of it; 0 throughout counts if the loss "
    "does not fall (in reinforcement learning: if the KL divergence is 0 throughout, and rewards differ)",
    origin="DeepSpeed#7632, ms-swift#5890",
    otherwise="a norm printed with so few decimals that it rounds to 0",
    refuted_by="parameters differ between two checkpoints of that stretch by more than rounding",
    remedy="look for a detached graph, frozen parameters, empty labels or a loss scale that reached 0",
    objectives=SUPERVISED | {ObjectiveKind.REINFORCEMENT},
)
def vanished_gradient(view: View) -> Detection | Nothing | Lacks:
    """The gradient is 0, for a while or to the end."""
    norm = view.grad_norm.clean() if view.grad_norm is not None else None
    if norm is None or len(norm) < 2 * LEAST_VANISHED:
        return Lacks(what=f"a gradient norm at {2 * LEAST_VANISHED} or more steps")
    gone = norm.values < max(VANISHED, norm.step_size)
    if norm.decimals is not None and norm.decimals < 8 and gone.any() and not gone.all():
        gone = norm.values == 0
        if np.median(norm.values[~gone]) < 20 * norm.step_size:
            return Lacks(what="a gradient norm with more decimals")
    if gone.all() and not is_dead(view):
        return Lacks(what="a gradient norm that was computed: it is printed as 0 throughout while the model changes")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], gone.astype(np.int8), [0]])))
    runs = [(int(b - a), int(a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    length, start = max(runs, default=(0, 0))
    lasting = start + length == len(norm) or length > 0.05 * len(norm)
    if length < LEAST_VANISHED or not lasting:
        return Nothing(numbers={"longest_run": length})
    return Detection(
        severity="error",
        statement=f"the gradient norm is below {VANISHED:g} at {length} entries in a row from step {norm.steps[start]} "
        f"to {norm.steps[start + length - 1]}: nothing is learned there",
        numbers={"longest_run": length, "entries": len(norm), "first_step": int(norm.steps[start])},
        evidence=(points(norm, np.arange(max(start - 1, 0), start + length)),),
        certainty="likely",
    )


@rule(
    title="Gradient explodes",
    needs="a gradient norm at 30 or more steps",
    statistic="gradient norm over the median of the 50 before it, outside the first 5% of the log",
    threshold="above 100 times the median and above 10, 2 or more times, or with a training loss that jumps at the "
    "same step by 6 sd of its noise",
    origin="calibrated on the foreign logs: isolated norms of 15 times the median are common in healthy fine-tuning",
    otherwise="a batch of very short or very long examples",
    refuted_by="the loss does not change at these steps, and the norms after clipping are ordinary",
    remedy="clip gradients (max_grad_norm 1.0), lower the learning rate, lengthen the warm-up, look at these batches",
    objectives=EVERY,
)
def exploding_gradient(view: View) -> Detection | Nothing | Lacks:
    """The gradient norm is a hundred times its earlier level."""
    norms = [
        series.clean()
        for (scope, name), series in view.series.items()
        if scope == TRAIN and _is_gradient_norm(name, series.label)
    ]
    norms = [norm for norm in norms if len(norm) >= 30 and (norm.values > 0).mean() > 0.5]
    if not norms:
        return Lacks(what="a gradient norm at 30 or more steps")
    largest = {}
    for norm in norms:
        middle = robust.median_before(norm.values, min(50, len(norm) // 3))
        ratio = np.where(middle > 0, norm.values / np.where(middle > 0, middle, 1.0), 0.0)
        ratio[: max(int(0.05 * len(norm)), 1)] = 0.0
        high = np.flatnonzero((ratio > EXPLODED) & (norm.values > LEAST_NORM))
        largest[f"largest_ratio_{norm.label}"] = float(np.nanmax(ratio))
        if len(high) >= 2 or (len(high) == 1 and _loss_jumps(view, int(norm.steps[high[0]]))):
            worst = int(high[np.argmax(ratio[high])])
            return Detection(
                severity="warning",
                statement=f"{norm.label} reaches {norm.values[worst]:.3g} at step {norm.steps[worst]}, "
                f"{ratio[worst]:.0f} times the median before it, and exceeds 100 times at {len(high)} entries",
                numbers={"ratio": float(ratio[worst]), "entries_above": len(high), "entries": len(norm)},
                evidence=(points(norm, high),),
            )
    return Nothing(numbers=largest)


def _is_gradient_norm(name: str, label: str) -> bool:
    return name == "grad_norm" or ("grad" in label.lower() and "norm" in label.lower())


def _loss_jumps(view: View, step: int) -> bool:
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or len(loss) < 30:
        return False
    near = np.flatnonzero(np.abs(loss.steps - step) <= 3 * max(int(np.median(np.diff(loss.steps))), 1))
    noise = robust.noise(loss.values)
    middle = robust.median_before(loss.values, 10)
    return bool(len(near) and noise > 0 and np.nanmax(loss.values[near] - middle[near]) > 6 * noise)


@rule(
    title="Gradient always clipped",
    needs="a gradient norm at 30 or more steps, and the clipping threshold",
    statistic="share of entries after warm-up with a norm above the clipping threshold",
    threshold="95% or more",
    origin="if every norm exceeds the threshold, the threshold sets the length of every step of gradient descent: in "
    "effect another learning rate; Adam and its kin divide by the size of past gradients, so that it does not",
    otherwise="it is intended (normalised gradient descent)",
    refuted_by="the norm is logged after clipping",
    remedy="raise the threshold to about the median norm, or set the learning rate with the clipping in mind",
    objectives=LIKELIHOOD,
)
def gradient_always_clipped(view: View) -> Detection | Nothing | Lacks:
    """Every gradient is clipped; under plain gradient descent, that sets how far each batch moves the weights."""
    threshold = view.config.get("max_grad_norm")
    norm = view.grad_norm.clean() if view.grad_norm is not None else None
    if norm is None or len(norm) < 30 or not threshold:
        return Lacks(what="a gradient norm at 30 or more steps, and max_grad_norm")
    later = norm.where(norm.steps >= view.warmup_end)
    above = later.values > float(threshold)
    share = float(above.mean())
    if share < 0.95 or len(later) < 20:
        return Nothing(numbers={"share_clipped": share})
    key = view.config.get("clip_key", DEFAULT_KEY)
    clipped = always_clipped(str(view.config.get("optimizer", "")).lower(), key)
    return Detection(
        severity="note",
        statement=f"the gradient norm is above the clipping threshold ({key}) of {threshold:g} at {share:.0%} of "
        f"{len(later)} entries (median {np.median(later.values):.3g}): {clipped.consequence}",
        numbers={"share_clipped": share, "median_norm": float(np.median(later.values)), "entries": len(later)},
        evidence=(points(later, np.arange(min(len(later), 6))),),
        certainty=clipped.certainty,
        remedy=clipped.remedy,
    )
