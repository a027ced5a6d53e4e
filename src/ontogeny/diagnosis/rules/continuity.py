"""Is the log one complete run? Several runs in a file, resumptions, gaps and early ends."""

import numpy as np

from ontogeny.core.verdicts import Severity
from ontogeny.diagnosis.objective import EVERY, LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Segment, Series

LEAST_SIDE = 8
"""Fewest entries on either side of a resumption."""
SIDE = 20
"""Most entries on either side that are compared."""
LEAST_JUMP = 0.2
"""Least jump of the loss, as a share of its level before."""
LEAST_Z = 4.0
"""Least jump in sd of the noise of both sides."""


@rule(
    title="Several runs in one log",
    needs="steps",
    statistic="number of runs or writers: segments where the step returns to the beginning, or another process writes",
    threshold="2 or more",
    origin="LLaMA-Factory logs that two processes append to; driver logs of several runs",
    otherwise="a counter that restarts every epoch",
    refuted_by="each segment continues the loss of the one before it",
    remedy="here each run is examined separately; elsewhere, split the file before you plot or average it",
    objectives=EVERY,
)
def several_runs(view: View) -> Detection | Nothing | Lacks:
    """The file contains more than one run."""
    segments = view.history.segments
    others = [segment for segment in segments if segment.beginning in ("restart", "writer")]
    if not others or view.segments[0].index != segments[0].index:
        return Nothing(numbers={"segments": len(segments)})
    reasons = "; ".join(segment.reason for segment in others[:2] if segment.reason)
    more = f"; and {len(others) - 2} more" if len(others) > 2 else ""
    return Detection(
        severity="note",
        statement=f"the log contains {len(others) + 1} runs or writers, which are kept apart ({reasons}{more})",
        numbers={"runs": len(others) + 1, "segments": len(segments)},
        evidence=tuple(points(_longest(segment), [0]) for segment in others[:6]),
        certainty="likely",
    )


def _longest(segment: Segment) -> Series:
    return max(segment.series, key=len)


@rule(
    title="Two values for one step",
    needs="a resumption that repeats steps",
    statistic="steps logged both before and after a resumption with different losses",
    threshold="1 or more",
    origin="a GPT-2 log whose step 103,000 has the evaluation losses 3.0373 and 3.0506",
    otherwise="evaluation on a random sample, or with dropout left on, varies by itself",
    refuted_by="evaluating the same checkpoint twice gives the same difference without any resumption",
    remedy="take the later values; if they are worse, the optimizer's state or the data order was not restored",
    objectives=EVERY,
)
def values_disagree_after_resume(view: View) -> Detection | Nothing | Lacks:
    """Steps that a resumed run repeats have other values than before."""
    if len(view.segments) < 2:
        return Lacks(what="a resumption that repeats steps")
    compared = 0
    for earlier, later in zip(view.segments[:-1], view.segments[1:], strict=True):
        for series in later:
            before = earlier.get(series.name, series.scope)
            if before is None or series.name != "loss":
                continue
            common, left, right = np.intersect1d(before.steps, series.steps, return_indices=True)
            compared += len(common)
            old, new = before.values[left], series.values[right]
            apart = np.flatnonzero(np.abs(old - new) > 2 * series.step_size)
            if len(apart):
                i = int(apart[0])
                return Detection(
                    severity="note",
                    statement=f"after the step went back to {series.steps[0]}, the {series.label} at step {common[i]} "
                    f"is {new[i]:.5g}; before, it was {old[i]:.5g}",
                    numbers={
                        "repeated_steps": len(common),
                        "different": len(apart),
                        "difference": float(new[i] - old[i]),
                    },
                    evidence=(points(before, left[apart]), points(series, right[apart])),
                    certainty="certain",
                )
    return Nothing(numbers={"compared": compared}) if compared else Lacks(what="a loss at a step that was repeated")


@rule(
    title="Jump at a resumption",
    needs="a resumption with 8 or more entries of the training loss on either side",
    statistic="difference of the medians of up to 20 entries after and before, over the noise of both sides",
    threshold="a rise of more than 4 sd and 20%",
    origin="transformers#33336: the optimizer's state was not restored",
    otherwise="other data from there on",
    refuted_by="the same batches give the same loss before and after the resumption",
    remedy="restore optimizer, scheduler, scaler and data order with the weights; compare the learning rate on both "
    "sides",
    objectives=SUPERVISED,
)
def resume_jump(view: View) -> Detection | Nothing | Lacks:
    """The loss is higher after a resumption than before."""
    loss = view.loss.clean() if view.loss is not None else None
    if loss is None or not view.joins:
        return Lacks(what="a resumption in the training loss")
    largest, assessed = 0.0, 0
    for join in view.joins:
        at = int(np.searchsorted(loss.steps, join))
        before, after = loss.values[max(at - SIDE, 0) : at], loss.values[at : at + SIDE]
        if min(len(before), len(after)) < LEAST_SIDE:
            continue
        assessed += 1
        jump = float(np.median(after) - np.median(before))
        sd = float(np.hypot(robust.noise(before), robust.noise(after)))
        relative = jump / abs(float(np.median(before)))
        largest = max(largest, relative)
        if jump > LEAST_Z * max(sd, 1e-12) and relative > LEAST_JUMP:
            return Detection(
                severity="error",
                statement=f"the {loss.label} jumps from {np.median(before):.4g} to {np.median(after):.4g} "
                f"(+{relative:.0%}) where the run was resumed at step {join}",
                numbers={
                    "before": float(np.median(before)),
                    "after": float(np.median(after)),
                    "z": jump / max(sd, 1e-12),
                },
                evidence=(points(loss, np.arange(max(at - 6, 0), min(at + 6, len(loss)))),),
            )
    if not assessed:
        return Lacks(what=f"{LEAST_SIDE} entries of the training loss on either side of a resumption")
    return Nothing(numbers={"largest_relative_jump": largest})


@rule(
    title="Level shift",
    needs="a training loss and a learning rate at 30 or more steps",
    statistic="lowest of the 10 losses after minus highest of the 10 losses before, at steps where a falling learning "
    "rate rises",
    threshold="above 8 sd of noise and 8% of the loss",
    origin="a summariser whose first three entries come from an earlier run: 2.16, then 2.49 and falling",
    otherwise="a deliberate change of data or batch size",
    refuted_by="a single schedule explains the learning rate on both sides",
    remedy="the entries before belong to another run or another configuration: leave them out of any comparison",
    objectives=LIKELIHOOD,
)
def level_shift(view: View) -> Detection | Nothing | Lacks:
    """Loss and learning rate both jump at one step: two configurations in one log."""
    loss, rate = view.loss, view.learning_rate
    if loss is None or rate is None or len(loss.clean()) < 30 or len(rate.clean()) < 30:
        return Lacks(what="a training loss and a learning rate at 30 or more steps")
    loss, rate = loss.clean(), rate.clean()
    past = rate.steps > view.warmup_end if rate.values[0] < 0.5 * rate.values.max() else np.ones(len(rate), dtype=bool)
    change = np.diff(rate.values)
    falls = np.concatenate([[False], change[:-1] < 0])
    rises = np.flatnonzero((change > 0) & falls & past[1:])
    for rise in rises:
        at = int(np.searchsorted(loss.steps, rate.steps[rise + 1]))
        before, after = loss.values[max(at - 10, 0) : at], loss.values[at : at + 10]
        if len(before) < 2 or len(after) < 8:
            continue
        sd = robust.noise(loss.values)
        step = float(after.min() - before.max())
        if sd > 0 and step > 8 * sd and step > 0.08 * before.max():
            return Detection(
                severity="warning",
                statement=f"at step {loss.steps[at]} the {loss.label} goes from {before[-1]:.4g} to {after[0]:.4g} and "
                f"stays there, and the learning rate rises from {rate.values[rise]:.4g} to "
                f"{rate.values[rise + 1]:.4g}: another run, or another configuration, from there on",
                numbers={"step_nats": step, "noise_sd": sd, "at_step": int(loss.steps[at])},
                evidence=(points(loss, np.arange(max(at - 3, 0), at + 3)), points(rate, [int(rise), int(rise) + 1])),
            )
    return Nothing(numbers={"rises_of_the_rate": len(rises)})


@rule(
    title="Entries are missing",
    needs="a training loss at 30 or more steps with a regular interval",
    statistic="the largest interval between two entries over the usual interval (that of at least 95% of the entries)",
    threshold="more than 3 times",
    origin="logs that lost their middle when a process was restarted or a file was cut and joined",
    otherwise="the logging interval was changed for a while",
    refuted_by="another record of the same run has no entries there either",
    remedy="look into the other log files of the run; do not fit a trend across the gap",
    objectives=EVERY,
)
def missing_entries(view: View) -> Detection | Nothing | Lacks:
    """A log with a regular interval has a gap."""
    loss = view.loss
    if loss is None or len(loss) < 30 or view.axis != "step":
        return Lacks(what="a training loss at 30 or more steps")
    distances = np.diff(loss.steps)
    usual = float(np.median(distances))
    if (distances == usual).mean() < 0.95:
        return Lacks(what="a regular logging interval")
    largest = int(np.argmax(distances))
    times = distances[largest] / usual
    if times <= 3 or int(loss.steps[largest + 1]) in view.joins:
        return Nothing(numbers={"largest_over_usual": float(times)})
    return Detection(
        severity="note",
        statement=f"there is no entry between step {loss.steps[largest]} and {loss.steps[largest + 1]}, where one is "
        f"logged every {usual:g} steps",
        numbers={"missing": int(times) - 1, "interval": usual},
        evidence=(points(loss, [largest, largest + 1]),),
        certainty="certain",
    )


@rule(
    title="Ended before the plan, or by a crash",
    needs="a loss, and the planned number of steps or an error in the log behind its last entry",
    statistic="last step over planned steps; messages of errors behind the last entry",
    threshold="below 95% of the plan: note; an error behind the last entry (out of memory, NCCL time-out, exception, "
    "killed): error, or a warning if 95% of the plan was done",
    origin="foreign logs of runs that ended at 4%, 34% and 63% of their planned steps; out-of-memory and time-out "
    "threads",
    otherwise="early stopping, or a log that was copied while the run went on",
    refuted_by="a later log of the same run goes on",
    remedy="judge the run as unfinished: the learning rate had not decayed, and the last loss is not the final one",
    objectives=EVERY,
)
def cut_short(view: View) -> Detection | Nothing | Lacks:
    """The log ends before the planned number of steps, or with an error."""
    planned = view.config.get("max_steps")
    loss = view.loss if view.loss is not None else next(iter(view.eval_losses), None)
    crash = _crash(view)
    is_planned = bool(planned) and loss is not None and len(loss) >= 5 and view.axis == "step"
    if loss is None or not len(loss) or (not is_planned and crash is None):
        return Lacks(what="the planned number of steps")
    if view.segments[-1].index != view.history.segments[-1].index:
        return Nothing(numbers={"planned": int(planned or 0)})
    share = _share_done(view, loss, float(planned)) if is_planned and planned else None
    if crash is None and (share is None or share >= 0.95 or share <= 0):
        return Nothing(numbers={"share_done": 1.0 if share is None else share})
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    left = f", with a learning rate of {rate.values[-1]:.3g}" if rate is not None and len(rate) else ""
    where = f"step {view.last_step}" if view.axis == "step" else f"{view.axis} {view.last_step}"
    done = f" of {planned} ({share:.0%} of the plan)" if share is not None else ""
    numbers: dict[str, float] = {"last_step": view.last_step}
    if share is not None and planned:
        numbers |= {"share_done": share, "planned": int(planned)}
    severity: Severity = "note"
    said = ""
    if crash is not None:
        row, text = crash
        severity = "note" if "Interrupt" in text else "warning" if share is not None and share >= 0.95 else "error"
        said = f"; {view.history.row_word} {row} says: {text[:100]}"
    return Detection(
        severity=severity,
        statement=f"the log ends at {where}{done}{left}{said}",
        numbers=numbers,
        evidence=(points(loss, [len(loss) - 1]),),
        certainty="certain",
        remedy=_remedy_of(crash[1]) if crash is not None else "",
    )


def _share_done(view: View, loss: Series, planned: float) -> float:
    """Last step over planned steps; 1 if the next entry would have come after the plan's end."""
    reached = max(view.last_step, int(view.config.get("last_step") or 0))
    interval = int(np.median(np.diff(loss.steps)))
    if reached >= 0.95 * planned or reached + interval >= planned:
        return 1.0
    return view.last_step / planned


def _crash(view: View) -> tuple[int, str] | None:
    """The first error that the log prints behind its last entry: row and text; None without one."""
    last = max((int(series.rows.max()) for series in view.series.values() if len(series)), default=0)
    later = [(row, text) for row, text in view.config.get("errors", ()) if row >= last and text]
    known = [error for error in later if any(word in error[1].lower() for word, _ in _CRASHES)]
    return next(iter(known or later), None)


_CRASHES = (
    ("out of memory", "lower the batch size or the sequence length, accumulate, or checkpoint activations"),
    ("outofmemory", "lower the batch size or the sequence length, accumulate, or checkpoint activations"),
    ("nccl", "look at the other ranks' logs for the first error: the rank that waits is seldom the one that failed"),
    ("timeout", "look at the other ranks' logs for the first error: the rank that waits is seldom the one that failed"),
    ("time limit", "the scheduler's time was over: resume from the last checkpoint, with more time"),
    ("kill", "something outside ended it: the machine's memory (host, not GPU), a scheduler, or a person"),
)


def _remedy_of(text: str) -> str:
    return next((remedy for word, remedy in _CRASHES if word in text.lower()), "")
