"""Does a model remember the order in which it was trained, or only the text?"""

from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.analyses import _order
from ontogeny.analyses.recorded.trained_batches import TrainedBatches, finite, trained_batches_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import autocorrelation
from ontogeny.statistics import by_document as stats
from ontogeny.store.run import open_run

LEAST = 20
"""Different batches."""
LEVEL = 0.05
SAME = 0.9
"""Rank correlation of two places above which they are not told apart."""


class OrderMemory(Analysis):
    """Of a ledger's batches: gain by place in training and in the text, and what comes before the next visit.

    `places`: Spearman's correlation of a batch's gain (loss before training minus loss at the end, of batches with the
    same passages the last one) with its place in training and its place in the text, each with the other's ranks held
    fixed. In a run in the text's order the two are one, which is said; a run with `order: shuffled` tells them apart.

    `anticipation`: at checkpoints between the first and the last epoch, the loss of each batch, the checkpoint's and
    the batch's mean taken off, by steps since its last visit over the steps of an epoch. Mean of the middle half minus
    mean of the last tenth: positive says that the loss falls again before the batch comes (anticipatory recovery, Yang
    et al. 2024), where forgetting alone would let it rise. In a cyclic order the end of the cycle is just before the
    next visit; in a shuffled one (`control`) a batch that has waited as long is no nearer to it, so the difference from
    the control is what order does.

    Neighbours share what happened to them. So intervals and p are by t with as many values as there are independent
    stretches (the number of batches over their autocorrelation time, a straight line along the order taken
    off), in the order of training (of the text, for the place in it); with fewer than 12 nothing is said. Bands of the
    curve are from blocks of neighbours of twice that time. P-values are adjusted together by Benjamini and Hochberg.
    Batches whose loss is no number at some checkpoint are left out first, and named.
    """

    control: str | None = None
    """Directory of a run like this one with train.order=shuffled."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read the ledgers and judge. Raises StoreError, too, if the control cannot be read."""
        return self.judge(
            trained_batches_of(run), trained_batches_of(open_run(Path(self.control))) if self.control else None
        )

    def judge(self, book: TrainedBatches, control: TrainedBatches | None = None) -> Result:
        """The same, from ledgers laid side by side."""
        whole, whole_control = book, control
        book, left_out = finite(book)
        last = _last_visits(book)
        if last.sum() < LEAST or book.place is None:
            lack = (
                f"{LEAST} different batches, it has {last.sum()}"
                if book.place is not None
                else "the places of batches: this ledger was recorded without them"
            )
            return Result(
                verdict=f"not assessable: lacks {lack}",
                sentences=tuple(left_out),
                reading=_READING,
                numbers={"n": int(last.sum())},
            )
        if control is not None:
            control, theirs = finite(control)
            left_out += [f"control: {one}" for one in theirs]
        random = np.random.default_rng(self.seed)
        numbers: dict[str, Any] = {"n": int(last.sum()), "epochs": book.epochs, "places": _places(book)}
        if control is not None and control.place is not None:
            numbers["places, control"] = _places(control)
        numbers["anticipation"] = _anticipation(whole, whole_control, random)
        _adjust(numbers)
        return Result(
            verdict=_verdict(numbers), sentences=(*left_out, *_sentences(numbers)), reading=_READING, numbers=numbers
        )


def _last_visits(book: TrainedBatches) -> np.ndarray:
    """Batches whose passages do not come again: bool [B]."""
    if book.content is None:
        return np.ones(book.batches, dtype=bool)
    last: dict[int, int] = {}
    for i in np.argsort(book.trained_at, kind="stable").tolist():
        last[int(book.content[i])] = i
    return np.isin(np.arange(book.batches), list(last.values()))


def _places(book: TrainedBatches) -> dict[str, Any]:
    """Correlations of gain with place in training and in the text."""
    assert book.place is not None
    chosen = _last_visits(book) & np.isfinite(book.place)
    gain = (book.nll[0] - book.nll[-1])[chosen]
    training, text = book.trained_at[chosen].astype(float), book.place[chosen]
    found: dict[str, Any] = {"n": len(gain), "trained_at": training, "place": text, "gain": gain}
    if len(gain) < LEAST:
        lack = f"{LEAST} batches that have a place and losses that are numbers, it has {len(gain)}"
        return {**found, "alike": float("nan"), "training": {"value": float("nan"), "lacks": lack}}
    alike = float(_alike(training, text))
    found["alike"] = alike
    if abs(alike) > SAME:
        return {**found, "both": _order.rank_correlation(gain, training, None)}
    found["training"] = _order.rank_correlation(gain, training, text)
    return {**found, "text": _order.rank_correlation(gain, text, training)}


def _alike(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation."""
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def _anticipation(book: TrainedBatches, control: TrainedBatches | None, random: np.random.Generator) -> dict[str, Any]:
    cycles = _order.cycles_of(book)
    if isinstance(cycles, str):
        return {"lacks": cycles}
    found = _of_cycles(cycles, random)
    other = "a control: add  --set control=RUN  of a shuffled run" if control is None else _order.cycles_of(control)
    if isinstance(other, str):
        return {**found, "control": {"lacks": other}}
    theirs = _of_cycles(other, random)
    return {**found, "control": {**theirs, "difference": autocorrelation.apart(found, theirs)}}


def _of_cycles(cycles: _order.Cycles, random: np.random.Generator) -> dict[str, Any]:
    """The contrast, and the curve with its band."""
    contrasts = cycles.contrasts()
    count = len(contrasts)
    found: dict[str, Any]
    found = (
        {"value": float(contrasts.mean()), "lacks": "any difference between losses"}
        if np.ptp(cycles.residual) <= autocorrelation.NO_SPREAD
        else autocorrelation.mean(contrasts)
    )
    length = autocorrelation.block_length(count, float(found.get("stretches", count)))
    draws = autocorrelation.block_weights(count, length, random, _order.draws_for(count))
    curve = cycles.curve(draws)
    if "lacks" in found:
        curve |= {key: np.full_like(curve[key], np.nan) for key in ("low", "high")}
    return {"n": count, "steps": cycles.steps, **found, "curve": curve}


def _adjust(numbers: dict[str, Any]) -> None:
    """Replace p-values by adjusted ones."""
    tests = [
        one[key]
        for name, one in numbers.items()
        if name.startswith("places")
        for key in ("both", "training", "text")
        if "p" in one.get(key, {})
    ]
    tests += [numbers["anticipation"]] if "p" in numbers["anticipation"] else []
    for test, p in zip(tests, stats.benjamini_hochberg(np.array([one["p"] for one in tests])), strict=True):
        test["p"] = float(p)
    numbers["tests"] = len(tests)


def _verdict(numbers: dict[str, Any]) -> str:
    one = numbers["anticipation"]
    found = "p" in one and one["p"] < LEVEL and one["low"] > 0
    control = one.get("control", {})
    places = numbers["places"]
    if not numbers["tests"]:
        lack = next(places[key]["lacks"] for key in ("both", "training", "text") if "lacks" in places.get(key, {}))
        return f"not assessable: lacks {lack}"
    if found and "low" in control.get("difference", {}):
        if control["difference"]["low"] > 0:
            return "anticipatory recovery: the loss falls before a batch comes again, more than in the control"
        return "the loss falls late in the cycle, but not more than in the control: not by the order"
    if found:
        return (
            f"the loss falls before a batch comes again; whether by the order: not assessable, lacks "
            f"{control.get('lacks') or control['difference']['lacks']}"
        )
    words = ["no memory of the order was found"]
    if "p" in one and one["p"] < LEVEL and one["high"] < 0:
        words = ["no memory of the order was found: the loss rises until a batch comes again"]
    if _sure(places, "both"):
        words += ["gain goes with the place in the sequence", _told_apart(numbers.get("places, control", {}))]
    if _sure(places, "training"):
        words += ["gain goes with the place in training, the place in the text held fixed"]
    lack = next((places[key]["lacks"] for key in ("both", "training") if "lacks" in places.get(key, {})), None)
    return "; ".join(words + ([f"gain and place: not assessable, lacks {lack}"] if lack else []))


def _sure(places: dict[str, Any], key: str) -> bool:
    return bool(places.get(key, {}).get("p", 1.0) < LEVEL)


def _told_apart(control: dict[str, Any]) -> str:
    """What a shuffled control says of a place that is one in training and in the text."""
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
    lines = []
    for name, whose in (("places", ""), ("places, control", "control: ")):
        for key, one in ((key, numbers[name][key]) for key in words if key in numbers.get(name, {})):
            what, of = f"{whose}gain and place {words[key]}", f"n = {numbers[name]['n']} batches"
            if "lacks" in one:
                lines.append(f"{what}: not assessable, lacks {one['lacks']} ({of})")
                continue
            lines.append(
                f"{what}: Spearman {one['value']:+.2f}, 95% {one['low']:+.2f} to {one['high']:+.2f}, p {_p(one['p'])} "
                f"adjusted over {numbers['tests']} ({of}, about {one['stretches']:.0f} independent)"
            )
    one = numbers["anticipation"]
    if "lacks" in one:
        return [*lines, f"what comes before the next visit: not assessable, lacks {one['lacks']}"]
    lines.append(
        f"loss in the middle of the cycle minus in its last tenth: {one['value']:+.4f} nats, 95% {one['low']:+.4f} to "
        f"{one['high']:+.4f}, p {_p(one['p'])} adjusted over {numbers['tests']} (n = {one['n']} batches)"
    )
    control = one["control"]
    lack = control.get("lacks") or control["difference"].get("lacks")
    if lack:
        return [*lines, f"against a control: not assessable, lacks {lack}"]
    apart = control["difference"]
    return [
        *lines,
        f"control: {control['value']:+.4f} nats, 95% {control['low']:+.4f} to {control['high']:+.4f} (n = "
        f"{control['n']} batches); difference {apart['value']:+.4f}, {apart['low']:+.4f} to {apart['high']:+.4f}",
    ]


_READING = (
    "A batch's gain can go with its place because of what was trained on since (recency), because of the text there, "
    "or because the order itself was learned. Only the last would let a loss fall before its batch comes again. A "
    "cycle in which nothing is remembered of the order has a loss that stays or rises until the next visit. All "
    "batches went through one model: intervals and p speak of this run, and other seeds may differ."
)
