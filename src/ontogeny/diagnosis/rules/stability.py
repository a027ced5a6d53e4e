"""Spikes, divergence, and a rising training loss."""

from functools import lru_cache

import numpy as np

from ontogeny.diagnosis.objective import LIKELIHOOD, SUPERVISED
from ontogeny.diagnosis.rule import Detection, Lacks, Nothing, points, rule
from ontogeny.diagnosis.view import View
from ontogeny.statistics import robust
from ontogeny.store.history import Series

WINDOW = 50
"""Entries before a value that it is compared with."""
LEAST = 100
"""Fewest entries of a loss in which spikes are looked for."""
SPIKE_SD = 6.0
LEAST_RISE = 0.08
"""Least height of a spike, as a share of the level: smaller ones do no harm."""
LEAST_NATS = 0.2
LASTING = 3
"""Sd of noise by which the level after a spike exceeds that before it, if the loss did not recover."""
RECOVERY = 50
"""Entries after a spike within which the loss may recover."""


def _loss(view: View, least: int) -> Series | None:
    loss = view.loss.clean() if view.loss is not None else None
    return loss if loss is not None and len(loss) >= least else None


@lru_cache(maxsize=2)
def _before(loss: Series) -> tuple[np.ndarray, np.ndarray]:
    """Median and robust sd of the 50 values before each one; cached, because several rules need them."""
    return robust.before(loss.values, WINDOW)


def excess(loss: Series) -> np.ndarray:
    """Distance of each value above the median of the 50 before it, in their robust sd (at least 0.5% of the level).

    0 for the first 50 entries and for the first 2%, where the loss falls steeply.
    """
    middle, width = _before(loss)
    scale = np.maximum(np.maximum(width, 0.005 * np.abs(middle)), 2 * loss.step_size)
    above = np.where(np.isfinite(middle), (loss.values - middle) / np.where(scale > 0, scale, 1.0), 0.0)
    above[: max(WINDOW, len(loss) // 50)] = 0.0
    return above


def spikes(loss: Series) -> list[tuple[int, int, float]]:
    """Begin, end (exclusive) and height in nats of every spike.

    A spike is 2 or more neighbouring entries above 6 sd, or one above 6 sd and 25% of the level. It is at least 0.2
    nats high, over a level above 0.2 nats, and its excess is above 4 times the 90% quantile of the run's own excesses,
    so that single batches of a heavy-tailed loss do not count.
    """
    above = excess(loss)
    middle, _ = _before(loss)
    tail = float(np.quantile(above[WINDOW:], 0.9)) if len(above) > WINDOW else 0.0
    high = (above > max(SPIKE_SD, 4 * tail)) & (loss.values > middle * (1 + LEAST_RISE))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], high.astype(np.int8), [0]])))
    candidates = []
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        height = float((loss.values[begin:end] - middle[begin:end]).max())
        if min(height, middle[begin]) > LEAST_NATS and (end - begin >= 2 or height > 0.25 * middle[begin]):
            candidates.append((begin, end, height))
    return _joined(candidates)


def _joined(pieces: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    """Spikes at most 5 entries apart become one."""
    joined: list[tuple[int, int, float]] = []
    for begin, end, height in pieces:
        if joined and begin - joined[-1][1] <= 5:
            joined[-1] = (joined[-1][0], end, max(height, joined[-1][2]))
        else:
            joined.append((begin, end, height))
    return joined


@rule(
    title="Spike in the loss",
    needs="a training loss at 100 or more steps",
    statistic="distance above the median of the 50 entries before, in their robust sd",
    threshold="above 6 sd, 8% of the level, 0.2 nats and 4 times the run's own 90% quantile, 2 entries long (or 25% "
    "high): a note; one that doubles the loss: a warning",
    origin="marin#1368; calibrated on the foreign logs, where runs of 19,000 steps have single entries up to 0.36 "
    "above the level",
    otherwise="a batch of unusual data: then a run with the same data order spikes at the same step (`ontogeny "
    "compare`)",
    refuted_by="the spike is absent when the same batches are trained on again",
    remedy="look at the batches of these steps; if they are fine, clip gradients, lower the rate, or raise Adam's "
    "beta2",
    objectives=LIKELIHOOD,
)
def loss_spike(view: View) -> Detection | Nothing | Lacks:
    """The loss jumps up and recovers."""
    loss = _loss(view, LEAST)
    if loss is None:
        return Lacks(what=f"a training loss at {LEAST} or more steps")
    all_spikes = spikes(loss)
    if not all_spikes:
        return Nothing(numbers={"largest_excess_sd": float(excess(loss).max())})
    middle, _ = _before(loss)
    tops = [begin + int(np.argmax(loss.values[begin:end])) for begin, end, _ in all_spikes]
    highest = max(range(len(all_spikes)), key=lambda i: all_spikes[i][2])
    (begin, end, height), top = all_spikes[highest], tops[highest]
    doubled = height > float(middle[begin])
    shown = np.unique([*(begin - 1 for begin, _, _ in all_spikes), *tops])
    others = f"; {len(all_spikes)} spikes in all" if len(all_spikes) > 1 else ""
    return Detection(
        severity="warning" if doubled else "note",
        statement=f"the {loss.label} jumps from {middle[begin]:.4g} to {loss.values[top]:.4g} at step "
        f"{loss.steps[top]} and recovers after {end - begin} entries{others}",
        numbers={
            "spikes": len(all_spikes),
            "height": height,
            "level": float(middle[begin]),
            "at_step": int(loss.steps[top]),
        },
        evidence=(points(loss, shown),),
        certainty="certain",
    )


@rule(
    title="Spike without recovery",
    needs="a training loss at 100 or more steps, with a spike and 50 entries after it",
    statistic="median of the second half of the entries from 50 after the spike to the end, against the median of the "
    "50 before it",
    threshold="more than 3 sd of noise and 5% above",
    origin="a model whose loss went from 2.7 to 13 at step 740 and settled at 3.2",
    otherwise="harder data from there on",
    refuted_by="the evaluation loss returns to its level",
    remedy="go back to the checkpoint before the spike and skip the batches, or lower the learning rate from there",
    objectives=LIKELIHOOD,
)
def unrecovered_spike(view: View) -> Detection | Nothing | Lacks:
    """After a spike the loss stays above its earlier level."""
    loss = _loss(view, LEAST)
    if loss is None:
        return Lacks(what=f"a training loss at {LEAST} or more steps")
    for begin, end, _ in spikes(loss):
        after = loss.values[end + RECOVERY :]
        if len(after) < 20:
            continue
        level = float(np.median(loss.values[max(begin - WINDOW, 0) : begin]))
        later = float(np.median(after[len(after) // 2 :]))
        sd = robust.noise(loss.values[max(begin - WINDOW, 0) : begin])
        if later > level + max(LASTING * sd, 0.05 * abs(level)):
            return Detection(
                severity="error",
                statement=f"the {loss.label} was {level:.4g} before the spike at step {loss.steps[begin]} and is "
                f"{later:.4g} in the second half of the log after it: it never recovered",
                numbers={"before": level, "after": later, "noise_sd": sd, "at_step": int(loss.steps[begin])},
                evidence=(points(loss, [begin - 1, begin, end, len(loss) - 1]),),
            )
    return Nothing(numbers={"spikes": len(spikes(loss))})


@rule(
    title="Divergence",
    needs="a training loss at 10 or more steps",
    statistic="median of the last tenth (3 or more entries) over the lowest median of any tenth, and over the first "
    "entries",
    threshold="25% and 8 sd of noise above the lowest, with a rising trend from there to the end; with fewer than 30 "
    "entries: 30% above the lowest and above the first loss",
    origin="a run that goes from 12.5 to 26 and ends at 20.5 within 10 steps, with gradient norms above 100",
    otherwise="harder data at the end (a curriculum); a log that ends within a spike",
    refuted_by="the evaluation loss keeps falling",
    remedy="stop; go back to the checkpoint of the lowest loss; lower the learning rate, lengthen the warm-up, clip "
    "gradients",
    objectives=SUPERVISED,
)
def divergence(view: View) -> Detection | Nothing | Lacks:
    """The training loss ends far above its lowest level."""
    loss = _loss(view, 10)
    if loss is None:
        return Lacks(what="a training loss at 10 or more steps")
    values = loss.values
    size = max(len(values) // 10, 3)
    medians = np.array([np.median(values[i : i + size]) for i in range(0, len(values) - size + 1, max(size // 3, 1))])
    last, lowest = float(np.median(values[-size:])), float(medians.min())
    where = int(np.argmin(medians)) * max(size // 3, 1)
    noise = robust.noise(values)
    if lowest <= 0.05 or last < 1.25 * lowest or (last - lowest < 8 * noise and len(values) >= 30):
        return Nothing(numbers={"last_over_lowest": last / lowest if lowest > 0 else float("nan")})
    if len(values) < 30 and (last < 1.3 * values[0] or last < 1.3 * lowest):
        return Nothing(numbers={"last_over_lowest": last / lowest})
    if len(values) >= 30 and robust.trend(loss.steps[where:], values[where:]).low <= 0:
        return Nothing(numbers={"last_over_lowest": last / lowest})
    return Detection(
        severity="error",
        statement=f"the {loss.label} rose from {lowest:.4g} near step {loss.steps[where]} to {last:.4g} at the end "
        f"(step {loss.steps[-1]})",
        numbers={"lowest": lowest, "last": last, "noise_sd": noise, "entries": len(values)},
        evidence=(points(loss, [where, *range(len(values) - 3, len(values))]),),
        certainty="likely" if len(values) >= 30 else "possible",
    )


@rule(
    title="Training loss rises",
    needs="a training loss at 40 or more steps after the warm-up",
    statistic="trend over the last half of the log (least squares, error inflated by the autocorrelation), and the "
    "difference of the means of the last and the first quarter after the warm-up",
    threshold="both above 0 with 95% confidence, and the trend above 1% of the level; not where `divergence` is found",
    origin="a resumed run whose loss goes from 3.671 to 3.724 over 56,000 steps",
    otherwise="data in order of difficulty; a schedule that raises the rate",
    refuted_by="the evaluation loss falls over the same steps",
    remedy="lower the learning rate; check that the optimizer's state was restored, and that any averaging of weights "
    "is right",
    objectives=LIKELIHOOD,
)
def training_loss_rises(view: View) -> Detection | Nothing | Lacks:
    """The loss on the training data rises."""
    loss = _loss(view, 40)
    if loss is None:
        return Lacks(what="a training loss at 40 or more steps")
    later = loss.where(loss.steps >= view.warmup_end)
    if len(later) < 40:
        return Lacks(what="40 entries of the training loss after the warm-up")
    if spikes(loss) or float(np.median(later.values)) <= 0:
        return Nothing(numbers={"spikes": len(spikes(loss))})
    half = later.where(np.arange(len(later)) >= len(later) // 2)
    trend = robust.trend(half.steps, half.values)
    quarter = len(later) // 4
    whole = robust.difference(later.values[-quarter:], later.values[:quarter])
    level = float(np.median(later.values))
    diverged = isinstance(divergence.check(view), Detection)
    if trend.low <= 0 or whole.low <= 0 or trend.value < 0.01 * level or diverged:
        return Nothing(numbers={"trend": trend.value, "change": whole.value})
    return Detection(
        severity="warning",
        statement=f"the {loss.label} rises by {whole.value:.3g} (95% {whole.low:.3g} to {whole.high:.3g}) from the "
        f"first to the last quarter after the warm-up, at a level of {level:.4g}",
        numbers={
            "change": whole.value,
            "low": whole.low,
            "high": whole.high,
            "trend_last_half": trend.value,
            "entries": len(later),
        },
        evidence=(points(later, [0, len(later) // 2, len(later) - 1]),),
    )
