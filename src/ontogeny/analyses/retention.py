"""How much of what a batch taught is kept, for how long, and does its place in training matter?"""

from itertools import pairwise
from typing import Any, Literal

import numpy as np

from ontogeny.analyses.recorded.trained_batches import TrainedBatches, finite, trained_batches_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import autocorrelation
from ontogeny.statistics import by_document as stats

LEAST = 8
"""Batches."""
MARGIN = 2.0
"""Difference of AICc below which two curves fit alike."""
UNFIT = 0.001
"""A curve with a chi-squared less likely than that does not fit."""


class Retention(Analysis):
    """Of sampled training batches: the loss at later checkpoints against two references, and what is kept by age.

    `against_before`: loss now minus loss before training (negative: still better than before). `against_after`: loss
    now minus loss just after the batch's own step (positive: some of it was forgotten). Both signed; `net` takes off
    what the loss of never-trained passages of the same corpora did in the same time. Batches that are near in training
    are alike, so intervals and p are by t with as many values as there are independent stretches (the number
    of batches over their autocorrelation time, a straight line along training taken off); with fewer than 12 nothing is
    said. Batches whose loss is no number at some checkpoint are left out first, and named.

    Retained at an age (steps since the batch's step, in doubling bins): the mean of (loss before training - loss now)
    over the mean of (loss before training - loss just after), both net where novel text was looked at. To the curve are
    fitted: flat, a; exponential, exp(-age / tau); power, (1 + age)^-k; by least squares weighted with the bootstrap's
    variance, compared by AICc. The simplest one within 2 of the best is named, unless it does not fit (chi-squared);
    parameters with bootstrap intervals. What is resampled is blocks of neighbours of twice the autocorrelation time.

    Recency and primacy at the last checkpoint: the gain of the last and of the first third of the batches against the
    middle third, by t with as many values as independent stretches, the thirds' means taken off (what a gain does
    within a third counts as chance), adjusted by Benjamini and Hochberg. Repeats: the loss at the end minus the loss
    just after each repeat.
    """

    reference: Literal["against_before", "against_after"] = "against_after"
    """Which one the verdict speaks of."""

    def analyze(self, run: RecordedRun) -> Result:
        """Read the ledger and judge."""
        return self.judge(trained_batches_of(run))

    def judge(self, book: TrainedBatches) -> Result:
        """The same, from a ledger laid side by side."""
        had = book.batches
        book, left_out = finite(book)
        if book.batches < LEAST:
            finite_ones = (
                f" with a finite loss, it has {book.batches} of {had}"
                if left_out and had >= LEAST
                else f", it has {book.batches}"
            )
            lack = f"not assessable: lacks {LEAST} sampled batches{finite_ones}"
            return Result(verdict=lack, sentences=tuple(left_out), reading=_READING, numbers={"n": book.batches})
        of_end = _at_the_end(book)
        ends = {name: autocorrelation.mean(values) for name, values in of_end.items()}
        curve = retained(book, np.random.default_rng(self.seed))
        fitted = fit(curve)
        places = _places(book)
        repeats = [autocorrelation.mean(book.nll[-1] - after) for after in book.after] if len(book.after) > 1 else []
        numbers = {
            "n": book.batches,
            "left_out": had - book.batches,
            "step": book.step,
            "trained_at": book.trained_at,
            "epochs": book.epochs,
            "ends": ends,
            "curve": {key: values for key, values in curve.items() if key not in ("draws", "ages")},
            "fit": fitted,
            "places": places,
            "repeats": repeats,
        }
        return Result(
            verdict=_verdict(ends[self.reference], self.reference),
            reading=_READING,
            numbers=numbers,
            sentences=(*left_out, *_sentences(book, numbers)),
        )


def _places(book: TrainedBatches) -> dict[str, dict[str, Any]]:
    """Gain of the first and last third against the middle third; the book is in the order of training."""
    design = np.zeros((book.batches, 3))
    for third, inside in enumerate(np.array_split(np.arange(book.batches), 3)):
        design[inside, third] = 1
    gain = book.nll[0] - book.nll[-1]
    found = autocorrelation.fitted(gain, design, np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]]))
    if "lacks" not in found[0]:
        adjusted = stats.benjamini_hochberg(np.array([one["p"] for one in found]))
        found = [one | {"p": float(p)} for one, p in zip(found, adjusted, strict=True)]
    elif np.ptp(gain) <= autocorrelation.NO_SPREAD:
        found = [one | {"lacks": "any difference between gains"} for one in found]
    return dict(zip(("primacy", "recency"), found, strict=True))


def _at_the_end(book: TrainedBatches) -> dict[str, np.ndarray]:
    """Signed changes of each batch's loss up to the last checkpoint, by reference."""
    found = {"against_before": book.nll[-1] - book.nll[0], "against_after": book.nll[-1] - book.after[-1]}
    if book.novel is not None:
        then = np.interp(book.trained_at + 1, book.step, book.novel)
        found["against_before, net"] = found["against_before"] - (book.novel[-1] - book.novel[0])
        found["against_after, net"] = found["against_after"] - (book.novel[-1] - then)
    return found


def retained(book: TrainedBatches, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Share of a batch's gain that is kept, by age in steps: `age`, `value`, `low`, `high`, `n`, `draws` of each bin.

    Bins double. `age` is the mean age in a bin, `n` its batches, `ages` up to 64 quantiles of the ages in it. Only
    checkpoints at or after the batch's own step count. `draws` are from a bootstrap of blocks of neighbours in training
    (`block_weights`), twice as long as the longest autocorrelation time of what a batch kept beyond its bin's
    share, lines on its place and its age taken off; a bin with too few
    independent stretches has no interval (NaN) and does not count for the length.
    """
    age = book.step[:, None] - (book.trained_at[None] + 1)
    kept, given = book.nll[:1] - book.nll, book.nll[0] - book.after[-1]
    if book.novel is not None:
        kept = kept - (book.novel[0] - book.novel)[:, None]
        given = given - (book.novel[0] - np.interp(book.trained_at + 1, book.step, book.novel))
    bins = []
    for low, high in pairwise([0, 1, *(2 ** np.arange(1, 40))]):
        inside = (age >= low) & (age < high)
        of_batch = inside.any(axis=0)
        if of_batch.sum() < LEAST or given[of_batch].sum() <= 0:
            continue
        mine = np.where(inside, kept, 0).sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
        value = float(mine[of_batch].sum() / given[of_batch].sum())
        beyond = (mine - value * given)[of_batch]
        mean_age = (np.where(inside, age, 0).sum(axis=0) / np.maximum(inside.sum(axis=0), 1))[of_batch]
        design = np.column_stack([autocorrelation.line(len(beyond)), mean_age - mean_age.mean()])
        bins.append((age[inside], of_batch, mine, value, autocorrelation.stretches(beyond, design)))
    sure = [not autocorrelation.lacks(held) for *_, held in bins]
    times = [of_batch.sum() / held for (_, of_batch, _, _, held), is_sure in zip(bins, sure, strict=True) if is_sure]
    length = autocorrelation.block_length(book.batches, book.batches / max(times, default=1.0))
    draws = autocorrelation.block_weights(book.batches, length, random, stats.DRAWS) / book.batches
    rows: dict[str, list[Any]] = {key: [] for key in ("age", "value", "low", "high", "n", "draws", "ages")}
    for (ages, of_batch, mine, value, _), is_sure in zip(bins, sure, strict=True):
        drawn = (draws @ np.where(of_batch, mine, 0)) / np.maximum(draws @ np.where(of_batch, given, 0), 1e-12)
        low, high = np.quantile(drawn, [0.025, 0.975]) if is_sure else (np.nan, np.nan)
        found = (ages.mean(), value, low, high, of_batch.sum(), drawn, np.quantile(ages, (np.arange(64) + 0.5) / 64))
        for key, one in zip(rows, found, strict=True):
            rows[key].append(one)
    return {key: np.array(values) for key, values in rows.items()}


_CURVES: dict[str, Any] = {
    "flat": np.full_like,
    "exponential": lambda age, tau: np.exp(-age / tau),
    "power": lambda age, k: (1 + age) ** -k,
}
_SYMBOL = {"flat": "a", "exponential": "tau_steps", "power": "k"}


def fit(curve: dict[str, np.ndarray], refits: int = 200) -> dict[str, Any]:
    """The simplest of the curves that fit: `name`, `parameter`, its `low` and `high`, the AICc of each, and `p` of fit.

    A curve is averaged over the ages in a bin, as the data are; bins without an interval are left out. *none*, if
    even the best has a chi-squared with p below 0.001.
    """
    from scipy.stats import chi2

    sure = np.isfinite(curve["low"].astype(float))
    if sure.sum() < 4:
        with_interval = " with an interval" if len(sure) >= 4 else ""
        return {
            "name": "not assessable",
            "lacks": f"4 ages{with_interval}, it has {sure.sum() if with_interval else len(sure)}",
        }
    curve = {key: values[sure] for key, values in curve.items()}
    sigma = np.maximum(curve["draws"].std(axis=1, ddof=1), 1e-3)
    found = {name: _fitted(name, curve["ages"], curve["value"], sigma) for name in _CURVES}
    aicc = {name: one["aicc"] for name, one in found.items()}
    best = min(aicc, key=lambda name: aicc[name])
    alike = [name for name in _CURVES if aicc[name] <= aicc[best] + MARGIN]
    name = "flat" if "flat" in alike else best
    again = [_fitted(name, curve["ages"], drawn, sigma)["parameter"] for drawn in curve["draws"].T[:refits]]
    low, high = np.quantile(again, [0.025, 0.975])
    p = float(chi2.sf(found[name]["chi2"], len(sigma) - 1))
    return {
        "name": name if p >= UNFIT else "none",
        "best": name,
        "symbol": _SYMBOL[name],
        "p": p,
        "aicc": aicc,
        "parameter": found[name]["parameter"],
        "low": float(low),
        "high": float(high),
        "alike": alike,
    }


def _fitted(name: str, ages: np.ndarray, value: np.ndarray, sigma: np.ndarray) -> dict[str, float]:
    """`ages` [bins, quantiles]."""
    from scipy.optimize import minimize_scalar

    def loss(parameter: float) -> float:
        at = parameter if name == "flat" else np.exp(parameter)
        return float((((value - _CURVES[name](ages, at).mean(axis=1)) / sigma) ** 2).sum())

    bounds = (-5.0, 5.0) if name == "flat" else (-12.0, 16.0)
    coarse = np.linspace(*bounds, 60)
    start = coarse[int(np.argmin([loss(one) for one in coarse]))]
    width = coarse[1] - coarse[0]
    best = minimize_scalar(loss, bounds=(start - width, start + width), method="bounded")
    aicc = float(best.fun) + 2 + 4 / max(len(value) - 2, 1)
    return {"parameter": float(best.x if name == "flat" else np.exp(best.x)), "aicc": aicc, "chi2": float(best.fun)}


def _verdict(end: dict[str, Any], reference: str) -> str:
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


def _interval(one: dict[str, Any]) -> str:
    if "lacks" in one:
        return f"{one['value']:+.3f} nats, an interval is not assessable: lacks {one['lacks']}"
    return f"{one['value']:+.3f} nats, 95% {one['low']:+.3f} to {one['high']:+.3f}"


def _sentences(book: TrainedBatches, numbers: dict[str, Any]) -> list[str]:
    words = {"against_before": "since before training", "against_after": "since just after their step"}
    lines = []
    for name, one in numbers["ends"].items():
        base, _, net = name.partition(", ")
        lines.append(
            f"{words[base]}{', net of novel text' if net else ''}: {_interval(one)} (n = {book.batches} batches, about "
            f"{one['stretches']:.0f} independent)"
        )
    curve, fitted = numbers["curve"], numbers["fit"]
    if len(curve["age"]):
        net = " beyond novel text" if book.novel is not None else ""
        between = (
            "no interval" if np.isnan(curve["low"][-1]) else f"95% {curve['low'][-1]:.0%} to {curve['high'][-1]:.0%}"
        )
        lines.append(
            f"retained of what was gained{net} by a batch's own step: {curve['value'][0]:.0%} after "
            f"{curve['age'][0]:.0f} steps, {curve['value'][-1]:.0%} ({between}) after "
            f"{curve['age'][-1]:,.0f}"
        )
    if "lacks" in fitted:
        lines.append(f"the curve's shape: not assessable, lacks {fitted['lacks']}")
    elif fitted["name"] == "none":
        lines.append(f"the curve is neither flat nor exponential nor a power law (p of fit {fitted['p']:.2g})")
    else:
        lines.append(
            f"the curve is {fitted['name']}, {fitted['symbol']} = {fitted['parameter']:.3g} (95% {fitted['low']:.3g} "
            f"to {fitted['high']:.3g}); fit alike: {', '.join(fitted['alike'])}"
        )
    for name, one in numbers["places"].items():
        third = "first" if name == "primacy" else "last"
        said = (
            f"not assessable, lacks {one['lacks']}"
            if "lacks" in one
            else (
                f"95% {one['low']:+.3f} to {one['high']:+.3f}, p = {one['p']:.4f} adjusted over 2, about "
                f"{one['stretches']:.0f} independent"
            )
        )
        lines.append(f"{name}: the {third} third gained {one['value']:+.3f} nats beside the middle third, {said}")
    for i, one in enumerate(numbers["repeats"]):
        lines.append(f"repeat {i + 1}: at the end, from just after it: {_interval(one)}")
    if book.epochs > 1.01:
        lines.append(f"{book.epochs:.1f} epochs: the same passages came again in other batches, which hides forgetting")
    return lines


_READING = (
    "A loss may fall because a batch is remembered, or because all text of its kind got easier: `net` takes the second "
    "off. Against before training, the sign says whether anything is left; against just after, how much went. Batches "
    "that are near in training share what happened then, so their intervals speak of this run. A batch's gain at its "
    "step holds what all batches before it taught, too."
)
