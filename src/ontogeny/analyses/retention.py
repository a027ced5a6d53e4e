"""How much of a batch's gain is retained, for how long, and does its place in training matter?"""

from typing import Any, ClassVar, Literal

import numpy as np

from ontogeny.analyses._retention_curves import LEAST, fit, retained
from ontogeny.analyses.recorded.trained_batches import TrainedBatches, finite, trained_batches_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import autocorrelation
from ontogeny.statistics.autocorrelation import SeriesEstimate
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.estimates import shortage


class Retention(Analysis):
    """Sampled training batches: the loss at later checkpoints against two references, and the share retained by age.

    `against_before`: loss now minus loss before training (negative: still better than before). `against_after`: loss
    now minus loss just after the batch's own step (positive: some of it was forgotten). Both signed; `net` subtracts
    the change in the loss of never-trained passages of the same corpora over the same time. Batches that are near in
    training are alike, so intervals and p are by t with as many values as there are independent stretches (the number
    of batches over their autocorrelation time, after a straight line along training is subtracted); with fewer than 12
    nothing is claimed. Batches whose loss is no number at some checkpoint are left out and named.

    Retained at an age (steps since the batch's step, in doubling bins): the mean of (loss before training - loss now)
    over the mean of (loss before training - loss just after), both net if novel text was evaluated. Three curves are
    fitted by least squares weighted with the bootstrap's variance, and compared by AICc: flat, a; exponential, exp(-age
    / tau); power, (1 + age)^-k. The simplest one within 2 of the best is named, unless it does not fit (chi-squared);
    parameters have bootstrap intervals. Blocks of neighbours of twice the autocorrelation time are resampled.

    Recency and primacy at the last checkpoint: the gain of the last and of the first third of the batches against the
    middle third, by t with as many values as independent stretches, the thirds' means subtracted (change within a third
    counts as chance), adjusted by Benjamini and Hochberg. Repeats: the loss at the end minus the loss just after each
    repeat.
    """

    order: ClassVar[float] = 110
    section: ClassVar[str] = "forgetting"

    reference: Literal["against_before", "against_after"] = "against_after"
    """The reference of the verdict."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read the ledger and judge."""
        return self.judge(trained_batches_of(run))

    def judge(self, batches: TrainedBatches) -> Result:
        """The same, from the table of a ledger."""
        sampled = batches.count
        batches, left_out = finite(batches)
        if batches.count < LEAST:
            remedy, where = "let the ledger follow a larger share", ""
            if left_out and sampled >= LEAST:
                remedy, where = "look at what made the loss no number", "with a loss that is a number"
            lack = shortage(LEAST, "sampled batch", batches.count, remedy, where)
            verdict, n = f"not assessable: lacks {lack}", batches.count
            return Result(verdict=verdict, sentences=tuple(left_out), reading=_READING, numbers={"n": n})
        ends = {name: autocorrelation.detrended_mean(change) for name, change in _at_the_end(batches).items()}
        curve = retained(batches, np.random.default_rng(self.seed))
        since_repeat = [batches.nll[-1] - after for after in batches.after] if len(batches.after) > 1 else []
        numbers = {
            "n": batches.count,
            "left_out": sampled - batches.count,
            "step": batches.step,
            "trained_at": batches.trained_at,
            "epochs": batches.epochs,
            "ends": ends,
            "curve": curve.numbers,
            "fit": fit(curve),
            "places": _places(batches),
            "repeats": [autocorrelation.detrended_mean(change) for change in since_repeat],
        }
        verdict, sentences = _verdict(ends[self.reference], self.reference), (*left_out, *_sentences(batches, numbers))
        return Result(verdict=verdict, sentences=sentences, reading=_READING, numbers=numbers)


def _places(batches: TrainedBatches) -> dict[str, SeriesEstimate]:
    """Gain of the first and last third against the middle third; the batches are in the order of training."""
    design = np.zeros((batches.count, 3))
    for third, inside in enumerate(np.array_split(np.arange(batches.count), 3)):
        design[inside, third] = 1
    gain = batches.nll[0] - batches.nll[-1]
    against_middle = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
    primacy, recency = autocorrelation.contrasts_of_fit(gain, design, against_middle)
    if "lacks" not in primacy:
        adjusted = benjamini_hochberg(np.array([primacy["p"], recency["p"]]))
        primacy["p"], recency["p"] = (float(p) for p in adjusted)
    elif np.ptp(gain) <= autocorrelation.NO_SPREAD:
        primacy["lacks"] = recency["lacks"] = "any difference between gains"
    return {"primacy": primacy, "recency": recency}


def _at_the_end(batches: TrainedBatches) -> dict[str, np.ndarray]:
    """Signed changes of each batch's loss up to the last checkpoint, by reference."""
    last = batches.nll[-1]
    changes = {"against_before": last - batches.nll[0], "against_after": last - batches.after[-1]}
    if batches.novel is not None:
        novel_after = np.interp(batches.trained_at + 1, batches.step, batches.novel)
        changes["against_before, net"] = changes["against_before"] - (batches.novel[-1] - batches.novel[0])
        changes["against_after, net"] = changes["against_after"] - (batches.novel[-1] - novel_after)
    return changes


def _verdict(end: SeriesEstimate, reference: str) -> str:
    what = "before training" if reference == "against_before" else "just after their step"
    if "lacks" in end:
        return (
            f"whether the loss of trained batches at the end differs from that {what} ({end['value']:+.3f} nats): "
            f"not assessable, lacks {end['lacks']}"
        )
    by = f"{end['value']:+.3f} nats (95% {end['low']:+.3f} to {end['high']:+.3f})"
    if end["low"] > 0:
        return f"trained batches have a higher loss at the end than {what}: {by}"
    if end["high"] < 0:
        return f"trained batches have a lower loss at the end than {what}: {by}"
    return f"the loss of trained batches at the end does not differ from that {what}: {by}"


def _interval(estimate: SeriesEstimate) -> str:
    if "lacks" in estimate:
        return f"{estimate['value']:+.3f} nats, an interval is not assessable: lacks {estimate['lacks']}"
    return f"{estimate['value']:+.3f} nats, 95% {estimate['low']:+.3f} to {estimate['high']:+.3f}"


def _sentences(batches: TrainedBatches, numbers: dict[str, Any]) -> list[str]:
    words = {"against_before": "since before training", "against_after": "since just after their step"}
    lines = []
    for name, end in numbers["ends"].items():
        base, _, net = name.partition(", ")
        lines.append(
            f"{words[base]}{', net of novel text' if net else ''}: {_interval(end)} (n = {batches.count} batches, "
            f"{autocorrelation.about(end['stretches'])} independent)"
        )
    lines += _of_curve(numbers["curve"], beyond=" beyond novel text" if batches.novel is not None else "")
    lines.append(_of_fit(numbers["fit"]))
    lines += [_of_place(name, estimate) for name, estimate in numbers["places"].items()]
    for i, estimate in enumerate(numbers["repeats"]):
        lines.append(f"repeat {i + 1}: at the end, from just after it: {_interval(estimate)}")
    if batches.epochs > 1.01:
        epochs = f"{batches.epochs:.1f} epochs"
        lines.append(f"{epochs}: the same passages came again in other batches, which hides forgetting")
    return lines


def _of_curve(curve: dict[str, np.ndarray], beyond: str) -> list[str]:
    if not len(curve["age"]):
        return []
    low, high = curve["low"][-1], curve["high"][-1]
    interval = "no interval" if np.isnan(low) else f"95% {low:.0%} to {high:.0%}"
    return [
        f"retained of what was gained{beyond} by a batch's own step: {curve['value'][0]:.0%} after "
        f"{curve['age'][0]:.0f} steps, {curve['value'][-1]:.0%} ({interval}) after {curve['age'][-1]:,.0f}"
    ]


def _of_fit(fitted: dict[str, Any]) -> str:
    if "lacks" in fitted:
        return f"the curve's shape: not assessable, lacks {fitted['lacks']}"
    if fitted["name"] == "none":
        return f"the curve is neither flat nor exponential nor a power law (p of fit {fitted['p']:.2g})"
    return (
        f"the curve is {fitted['name']}, {fitted['symbol']} = {fitted['parameter']:.3g} (95% {fitted['low']:.3g} "
        f"to {fitted['high']:.3g}); fit alike: {', '.join(fitted['alike'])}"
    )


def _of_place(name: str, estimate: SeriesEstimate) -> str:
    third = "first" if name == "primacy" else "last"
    gained = f"{name}: the {third} third gained {estimate['value']:+.3f} nats beside the middle third"
    if "lacks" in estimate:
        return f"{gained}, not assessable, lacks {estimate['lacks']}"
    return (
        f"{gained}, 95% {estimate['low']:+.3f} to {estimate['high']:+.3f}, p = {estimate['p']:.4f} adjusted over 2, "
        f"{autocorrelation.about(estimate['stretches'])} independent"
    )


_READING = (
    "A loss may fall because a batch is remembered, or because all text of its kind got easier: `net` takes the second "
    "off. Against before training, the sign says whether anything is left; against just after, how much went. Batches "
    "that are near in training share what happened then, so their intervals speak of this run. A batch's gain at its "
    "step holds what all batches before it taught, too."
)
