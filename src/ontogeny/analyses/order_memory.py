"""Does a model remember the order in which it was trained, or only the text?"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ontogeny.analyses._cycles import Cycles, cycles_of, draws_for
from ontogeny.analyses.recorded.trained_batches import TrainedBatches, finite, trained_batches_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import autocorrelation
from ontogeny.statistics.autocorrelation import SeriesEstimate
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.correlations import rank_correlation_of_series
from ontogeny.statistics.estimates import shortage
from ontogeny.store.run import open_run

LEAST = 20
"""Different batches."""
LEVEL = 0.05
SAME = 0.9
"""Rank correlation of two places above which they count as one."""


class OrderMemory(Analysis):
    """Batches of a ledger: gain by place in training and in the text, and the loss before the next visit.

    `places`: Spearman's correlation of a batch's gain (loss before training minus loss at the end, of batches with the
    same passages the last one) with its place in training and its place in the text, each with the other's ranks held
    fixed. In a run in the text's order the two places are one; a run with `order: shuffled` separates them.

    `anticipation`: at checkpoints between the first and the last epoch, the loss of each batch, minus the checkpoint's
    and the batch's mean, by steps since its last visit over the steps of an epoch. Mean of the middle half minus mean
    of the last tenth: positive says that the loss falls again before the batch comes (anticipatory recovery, Yang et
    al. 2024), where forgetting alone would let it rise. In a cyclic order the end of the cycle is just before the next
    visit; in a shuffled one (`control`) a batch that has waited as long is no nearer to it, so the difference from the
    control is what order does.

    Neighbours share what happened to them. So intervals and p are by t with as many values as there are independent
    stretches (the number of batches over their autocorrelation time, after a straight line along the order is
    subtracted), in the order of training (of the text, for the place in it); with fewer than 12 nothing is claimed.
    Bands of the curve are from blocks of neighbours of twice that time. P-values are adjusted together by Benjamini and
    Hochberg. Batches whose loss is no number at some checkpoint are left out and named.
    """

    section: ClassVar[str] = "forgetting"

    control: str | None = None
    """Directory of a run like this one with train.order=shuffled."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read the ledgers and judge. Raises StoreError, too, if the control cannot be read."""
        control = trained_batches_of(open_run(Path(self.control))) if self.control else None
        return self.judge(trained_batches_of(run), control)

    def judge(self, batches: TrainedBatches, control: TrainedBatches | None = None) -> Result:
        """The same, from the tables of ledgers."""
        sound, left_out = finite(batches)
        count = int(_last_visits(sound).sum())
        if count < LEAST or sound.place is None:
            lack = shortage(LEAST, "different batch", count, "let the ledger follow a larger share")
            if sound.place is None:
                lack = "the places of batches, which ledgers of earlier versions do not hold: train again"
            verdict, sentences = f"not assessable: lacks {lack}", tuple(left_out)
            return Result(verdict=verdict, sentences=sentences, reading=_READING, numbers={"n": count})
        numbers: dict[str, Any] = {"n": count, "epochs": sound.epochs, "places": _places(sound, sound.place)}
        if control is not None:
            sound_control, left_out_there = finite(control)
            left_out += [f"control: {sentence}" for sentence in left_out_there]
            if sound_control.place is not None:
                numbers["places, control"] = _places(sound_control, sound_control.place)
        # An epoch is as long as all that was trained on, so the whole ledgers, not those without the lost batches.
        numbers["anticipation"] = _anticipation(batches, control, np.random.default_rng(self.seed))
        _adjust(numbers)
        sentences = (*left_out, *_sentences(numbers))
        return Result(verdict=_verdict(numbers), sentences=sentences, reading=_READING, numbers=numbers)


def _last_visits(batches: TrainedBatches) -> np.ndarray:
    """Batches whose passages do not come again: bool [B]."""
    if batches.content is None:
        return np.ones(batches.count, dtype=bool)
    last: dict[int, int] = {}
    for i in np.argsort(batches.trained_at, kind="stable").tolist():
        last[int(batches.content[i])] = i
    return np.isin(np.arange(batches.count), list(last.values()))


def _places(batches: TrainedBatches, place: np.ndarray) -> dict[str, Any]:
    """Correlations of gain with the place in training and in the text; `place` [B] is that in the text."""
    chosen = _last_visits(batches) & np.isfinite(place)
    gain = (batches.nll[0] - batches.nll[-1])[chosen]
    training, text = batches.trained_at[chosen].astype(float), place[chosen]
    numbers: dict[str, Any] = {"n": len(gain), "trained_at": training, "place": text, "gain": gain}
    if len(gain) < LEAST:
        where = "with a place in the text and losses that are numbers"
        lack = shortage(LEAST, "batch", len(gain), "let the ledger follow a larger share", where)
        return {**numbers, "alike": float("nan"), "training": {"value": float("nan"), "lacks": lack}}
    numbers["alike"] = alike = _rank_correlation(training, text)
    if abs(alike) > SAME:
        return {**numbers, "both": _gain_and_place(gain, training)}
    numbers["training"] = _gain_and_place(gain, training, given=text)
    return {**numbers, "text": _gain_and_place(gain, text, given=training)}


def _gain_and_place(gain: np.ndarray, place: np.ndarray, given: np.ndarray | None = None) -> SeriesEstimate:
    if np.ptp(gain) <= autocorrelation.NO_SPREAD and np.ptp(place):
        return {"value": float("nan"), "lacks": "any difference between gains"}
    return rank_correlation_of_series(gain, place, given)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def _anticipation(
    batches: TrainedBatches, control: TrainedBatches | None, random: np.random.Generator
) -> dict[str, Any]:
    cycles = cycles_of(batches)
    if isinstance(cycles, str):
        return {"lacks": cycles}
    numbers, estimate = _of_cycles(cycles, random)
    if control is None:
        return {**numbers, "control": {"lacks": "a control: add  --set control=RUN  of a shuffled run"}}
    control_cycles = cycles_of(control)
    if isinstance(control_cycles, str):
        return {**numbers, "control": {"lacks": control_cycles}}
    control_numbers, control_estimate = _of_cycles(control_cycles, random)
    difference = autocorrelation.welch_difference(estimate, control_estimate)
    return {**numbers, "control": {**control_numbers, "difference": difference}}


def _of_cycles(cycles: Cycles, random: np.random.Generator) -> tuple[dict[str, Any], SeriesEstimate]:
    """The contrast with the curve and its band, as numbers; and the contrast by itself."""
    contrasts = cycles.contrasts()
    count = len(contrasts)
    estimate: SeriesEstimate
    if np.ptp(cycles.residual) <= autocorrelation.NO_SPREAD:
        estimate = {"value": float(contrasts.mean()), "lacks": "any difference between losses"}
    else:
        estimate = autocorrelation.detrended_mean(contrasts)
    length = autocorrelation.block_length(count, estimate.get("stretches", float(count)))
    curve = cycles.curve(autocorrelation.block_weights(count, length, random, draws_for(count)))
    if "lacks" in estimate:
        curve |= {key: np.full_like(curve[key], np.nan) for key in ("low", "high")}
    return {"n": count, "steps": cycles.steps, **estimate, "curve": curve}, estimate


def _adjust(numbers: dict[str, Any]) -> None:
    """Replace p-values by adjusted ones."""
    tests = [
        places[key]
        for name, places in numbers.items()
        if name.startswith("places")
        for key in ("both", "training", "text")
        if "p" in places.get(key, {})
    ]
    tests += [numbers["anticipation"]] if "p" in numbers["anticipation"] else []
    for test, p in zip(tests, benjamini_hochberg(np.array([test["p"] for test in tests])), strict=True):
        test["p"] = float(p)
    numbers["tests"] = len(tests)


def _verdict(numbers: dict[str, Any]) -> str:
    contrast, places = numbers["anticipation"], numbers["places"]
    if not numbers["tests"]:
        lack = next(places[key]["lacks"] for key in ("both", "training", "text") if "lacks" in places.get(key, {}))
        return f"not assessable: lacks {lack}"
    significant = contrast.get("p", 1.0) < LEVEL
    if significant and contrast["low"] > 0:
        return _of_recovery(contrast["control"])
    parts = ["no memory of the order was found"]
    if significant and contrast["high"] < 0:
        parts = ["no memory of the order was found: the loss rises until a batch comes again"]
    if _sure(places, "both"):
        parts += ["gain goes with the place in the sequence", _told_apart(numbers.get("places, control", {}))]
    if _sure(places, "training"):
        parts += ["gain goes with the place in training, the place in the text held fixed"]
    lack = next((places[key]["lacks"] for key in ("both", "training") if "lacks" in places.get(key, {})), None)
    return "; ".join(parts + ([f"gain and place: not assessable, lacks {lack}"] if lack else []))


def _of_recovery(control: dict[str, Any]) -> str:
    """What a loss that falls before a batch comes again means beside the control."""
    difference = control.get("difference", {})
    if "low" not in difference:
        lack = control.get("lacks") or difference["lacks"]
        return f"the loss falls before a batch comes again; whether by the order: not assessable, lacks {lack}"
    if difference["low"] > 0:
        return "anticipatory recovery: the loss falls before a batch comes again, more than in the control"
    return "the loss falls late in the cycle, but not more than in the control: not by the order"


def _sure(places: dict[str, Any], key: str) -> bool:
    return bool(places.get(key, {}).get("p", 1.0) < LEVEL)


def _told_apart(control: dict[str, Any]) -> str:
    """What a shuffled control says of a place that is the same in training and in the text."""
    if any("p" not in control.get(key, {}) for key in ("training", "text")):
        return (
            "the places in training and in the text are one here, so this is no evidence of order: train with "
            "order: shuffled"
        )
    words = {key: "with" if _sure(control, key) else "not with" for key in ("training", "text")}
    return f"in the shuffled control {words['training']} the place in training, {words['text']} the place in the text"


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"= {value:.4f}"


def _sentences(numbers: dict[str, Any]) -> list[str]:
    words = {"both": "in training and text, which are one here", "training": "in training", "text": "in the text"}
    tests, lines = numbers["tests"], []
    for name, whose in (("places", ""), ("places, control", "control: ")):
        places = numbers.get(name, {})
        for key in (key for key in words if key in places):
            estimate, what, of = places[key], f"{whose}gain and place {words[key]}", f"n = {places['n']} batches"
            if "lacks" in estimate:
                lines.append(f"{what}: not assessable, lacks {estimate['lacks']} ({of})")
                continue
            lines.append(
                f"{what}: Spearman {estimate['value']:+.2f}, 95% {estimate['low']:+.2f} to {estimate['high']:+.2f}, "
                f"p {_p(estimate['p'])} adjusted over {tests} ({of}, "
                f"{autocorrelation.about(estimate['stretches'])} independent)"
            )
    contrast = numbers["anticipation"]
    if "lacks" in contrast:
        return [*lines, f"what comes before the next visit: not assessable, lacks {contrast['lacks']}"]
    lines.append(
        f"loss in the middle of the cycle minus in its last tenth: {contrast['value']:+.4f} nats, 95% "
        f"{contrast['low']:+.4f} to {contrast['high']:+.4f}, p {_p(contrast['p'])} adjusted over {tests} "
        f"(n = {contrast['n']} batches)"
    )
    control = contrast["control"]
    difference = control.get("difference", {})
    if lack := control.get("lacks") or difference.get("lacks"):
        return [*lines, f"against a control: not assessable, lacks {lack}"]
    lines.append(
        f"control: {control['value']:+.4f} nats, 95% {control['low']:+.4f} to {control['high']:+.4f} (n = "
        f"{control['n']} batches); difference {difference['value']:+.4f}, {difference['low']:+.4f} to "
        f"{difference['high']:+.4f}"
    )
    return lines


_READING = (
    "A batch's gain can go with its place because of what was trained on since (recency), because of the text there, "
    "or because the order itself was learned. Only the last would let a loss fall before its batch comes again. A "
    "cycle in which nothing is remembered of the order has a loss that stays or rises until the next visit. All "
    "batches went through one model: intervals and p speak of this run, and other seeds may differ."
)
