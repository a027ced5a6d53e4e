"""Is the learning rate the intended one?"""

import numpy as np

from ontogeny.diagnosis.objective import EVERY, SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Series

LEAST = 20
"""Fewest entries of a learning rate that is judged."""
EDGE = 0.02
"""Share of the steps at either end where a rate of 0 is normal."""
LEAST_ZEROS = 3
JUMP = 2.0
"""Ratio of consecutive values above which the rate jumps."""


def _rate(view: View, least: int = LEAST) -> Series | None:
    rate = view.learning_rate.clean() if view.learning_rate is not None else None
    return rate if rate is not None and len(rate) >= least else None


@rule(
    title="Learning rate is 0 in the middle",
    needs="a learning rate at 20 or more steps",
    statistic="longest run of entries that are exactly 0, outside the first and the last 2% of the steps",
    threshold="3 or more in a row, unless the rate decays to below its printed precision there",
    origin="transformers#10362; a log that prints 0.000000 for the last 346 steps of a decay rounds, and is no finding",
    otherwise="a cyclic schedule that stays at 0 between its cycles",
    refuted_by="weights change over that stretch",
    remedy="compare the scheduler's total steps with the steps trained; step the scheduler once per update",
    objectives=EVERY,
)
def zero_learning_rate(view: View) -> Detection | Nothing | Lacks:
    """The learning rate is 0, so that nothing is learned."""
    rate = _rate(view)
    if rate is None or rate.values.max() <= 0:
        if rate is not None and view.loss is not None and len(rate) >= LEAST and rate.decimals is None:
            return Lacks(what="a learning rate that is ever above 0, or its precision")
        return Lacks(what=f"a learning rate at {LEAST} or more steps that is ever above 0")
    span = rate.steps[-1] - rate.steps[0]
    inside = (rate.steps > rate.steps[0] + EDGE * span) & (rate.steps < rate.steps[-1] - EDGE * span)
    zero = (rate.values == 0) & inside
    edges = np.flatnonzero(np.diff(np.concatenate([[0], zero.astype(np.int8), [0]])))
    runs = [(int(b - a), int(a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    length, start = max(runs, default=(0, 0))
    rounded = start > 0 and rate.values[start - 1] <= 20 * max(rate.step_size, 1e-300) and rate.step_size > 0
    if length < LEAST_ZEROS or rounded:
        return Nothing(numbers={"longest_run_of_zeros": length})
    return Detection(
        severity="error",
        statement=f"the learning rate is exactly 0 at {length} entries from step {rate.steps[start]} to "
        f"{rate.steps[start + length - 1]}, after {rate.values[max(start - 1, 0)]:.3g}",
        numbers={"zeros": length, "first_step": int(rate.steps[start]), "entries": len(rate)},
        evidence=(points(rate, np.arange(max(start - 1, 0), min(start + length + 1, len(rate)))),),
        certainty="certain",
    )


@rule(
    title="Learning rate jumps",
    needs="a learning rate at 20 or more steps",
    statistic="ratio of consecutive values after the first entries, where the ratios before and after are below 1.2",
    threshold="a ratio above 2 in a decaying or constant schedule, once or twice in the log",
    origin="schedules that are rebuilt at a resumption or after a change of the planned steps",
    otherwise="a schedule with restarts (three or more rises count as cycles)",
    refuted_by="the configured schedule has that jump",
    remedy="save and restore the scheduler with the optimizer; keep the planned number of steps when resuming",
    objectives=EVERY,
)
def rate_jump(view: View) -> Detection | Nothing | Lacks:
    """The learning rate jumps up after the warm-up."""
    rate = _rate(view)
    if rate is None:
        return Lacks(what=f"a learning rate at {LEAST} or more steps")
    coarse = 4 * rate.step_size if np.ptp(rate.values) > 0 else 0.0  # below it, rounding alone makes large ratios
    positive = rate.where(rate.values > max(float(rate.values.max()) * 1e-3, coarse))
    if len(positive) < LEAST:
        return Lacks(what=f"a learning rate above 0 at {LEAST} or more steps")
    ratio = positive.values[1:] / positive.values[:-1]
    calm = np.concatenate([[False], (ratio[:-1] < 1.2) & (ratio[:-1] > 1 / 1.2)])
    settled = np.arange(len(ratio)) >= 3
    jumps = np.flatnonzero((ratio > JUMP) & calm & settled)
    after = [i for i in jumps if i + 1 < len(ratio) and 1 / 1.2 < ratio[i + 1] < 1.2]
    if not after or len(after) > 2:
        return Nothing(numbers={"largest_ratio": float(ratio.max()), "jumps": len(after)})
    first = int(after[0])
    return Detection(
        severity="warning",
        statement=f"the learning rate jumps from {positive.values[first]:.3g} at step {positive.steps[first]} to "
        f"{positive.values[first + 1]:.3g} at step {positive.steps[first + 1]}, {ratio[first]:.1f} times as high",
        numbers={"ratio": float(ratio[first]), "at_step": int(positive.steps[first + 1]), "entries": len(rate)},
        evidence=(points(positive, np.arange(max(first - 1, 0), min(first + 4, len(positive)))),),
    )


@rule(
    title="Warm-up to the end of the log",
    needs="a learning rate at 20 or more steps",
    statistic="rise of the learning rate from entry to entry, and its distance from a straight line",
    threshold="the rate rises at every entry to the last one, linearly within 1%, from below 10% of the last value",
    origin="a DPO log of 202 of 5,100 steps, all of them warm-up",
    otherwise="a learning-rate range test, which rises to the end on purpose (usually by a factor per step)",
    refuted_by="a later part of the same log",
    remedy="wait before you judge: most of the learning comes after the warm-up",
    objectives=EVERY,
)
def unfinished_warmup(view: View) -> Detection | Nothing | Lacks:
    """The learning rate is still warming up at the end of the log."""
    rate = _rate(view)
    if rate is None:
        return Lacks(what=f"a learning rate at {LEAST} or more steps")
    rising = bool((np.diff(rate.values) > 0).all()) and rate.values[0] < 0.1 * rate.values[-1]
    straight = np.polyval(np.polyfit(rate.steps, rate.values, 1), rate.steps)
    linear = float(np.abs(straight - rate.values).max()) < 0.01 * rate.values[-1]
    if not rising or not linear:
        return Nothing(numbers={"share_of_highest_at_end": float(rate.values[-1] / max(rate.values.max(), 1e-300))})
    return Detection(
        severity="note",
        statement=f"the learning rate rises to the last entry ({rate.values[0]:.3g} to {rate.values[-1]:.3g} at step "
        f"{rate.steps[-1]}): the whole log is warm-up",
        numbers={"first": float(rate.values[0]), "last": float(rate.values[-1]), "entries": len(rate)},
        evidence=(points(rate, [0, len(rate) // 2, len(rate) - 1]),),
        certainty="certain",
    )


@rule(
    title="Learning rate too high",
    needs="a learning rate with a warm-up of 8 or more entries, and a training loss at the same steps",
    statistic="trend of the training loss from its lowest point to the end of the warm-up, and its level after it",
    threshold="a rise with a 95% interval above 0 and above 20% of the level at its start, and a median over the next "
    "entries (as many as the warm-up has) 10% above that level",
    origin="a speech model whose loss went from 0.118 to 0.314 while the rate was warmed up to 1e-4",
    otherwise="harder data in that stretch",
    refuted_by="in a run with a third of the peak rate, the loss rises in the same way",
    remedy="start again from the checkpoint before the rise with a third of the peak rate",
    objectives=SUPERVISED,
)
def rate_too_high(view: View) -> Detection | Nothing | Lacks:
    """The loss rises while the learning rate is warmed up."""
    rate, loss = _rate(view, 8), view.loss.clean() if view.loss is not None else None
    if rate is None or loss is None:
        return Lacks(what="a learning rate and a training loss")
    during = loss.where(loss.steps <= view.warmup_end)
    after = loss.values[loss.steps > view.warmup_end]
    if len(during) < 8 or len(after) < 4 or rate.values[0] > 0.5 * rate.values.max():
        return Lacks(what="a warm-up with 8 or more entries, and 4 after it")
    lowest = int(np.argmin(robust.smooth(during.values, 3)))
    climb = during.where(np.arange(len(during)) >= lowest)
    if len(climb) < 6:
        return Nothing(numbers={"entries_after_lowest": len(climb)})
    level = float(np.median(climb.values[:3]))
    trend = robust.trend(climb.steps, climb.values)
    later = float(np.median(after[: len(during)]))
    if trend.low <= 0 or trend.value < 0.2 * level or later < level * 1.1:
        return Nothing(numbers={"rise": trend.value, "level": level, "later": later})
    return Detection(
        severity="warning",
        statement=f"the {loss.label} rises from {level:.3g} at step {climb.steps[0]} to {climb.values[-1]:.3g} at step "
        f"{climb.steps[-1]} while the learning rate is warmed up to {rate.values.max():.3g}, and stays at {later:.3g}",
        numbers={"rise": trend.value, "low": trend.low, "high": trend.high, "level": level, "later": later},
        evidence=(points(loss, np.flatnonzero((loss.steps >= climb.steps[0]) & (loss.steps <= view.warmup_end))),),
    )


@rule(
    title="Schedule made for more steps",
    needs="a learning rate that decays, at 20 or more steps, and a run that reached its planned number of steps",
    statistic="last learning rate over the peak",
    threshold="above 50%, falling over the last fifth of the entries, at 95% or more of the planned steps",
    origin="a scheduler that counts batches or devices, not updates",
    otherwise="a schedule with a floor above half of the peak",
    refuted_by="the last rate is the configured minimum",
    remedy="give the scheduler the number of optimizer steps; with several devices, step it once per update",
    objectives=EVERY,
)
def decay_unfinished(view: View) -> Detection | Nothing | Lacks:
    """The run reached its planned steps before the schedule ended."""
    rate, planned = _rate(view), view.config.get("max_steps")
    if rate is None or not planned or view.axis != "step":
        return Lacks(what="a learning rate and the planned number of steps")
    if view.last_step < 0.95 * float(planned):
        return Lacks(what="a run that reached its planned number of steps")
    left = float(rate.values[-1] / max(rate.values.max(), 1e-300))
    tail = rate.values[-max(len(rate) // 5, 4) :]
    falling = bool((np.diff(tail) < 0).all())
    if left < 0.5 or not falling:
        return Nothing(numbers={"share_left": left})
    return Detection(
        severity="note",
        statement=f"the run ends at its planned step {planned} with {left:.0%} of the peak learning rate left, and the "
        "rate still falling: the schedule was made for more steps",
        numbers={"share_left": left, "last": float(rate.values[-1]), "planned": int(planned)},
        evidence=(points(rate, [0, int(np.argmax(rate.values)), len(rate) - 1]),),
        certainty="likely",
    )
