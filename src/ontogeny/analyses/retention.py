"""How much of a batch's gain is retained, for how long, and does its place in training matter?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np

from ontogeny.analyses.recorded.trained_batches import TrainedBatches, finite, trained_batches_of
from ontogeny.core.analyses import Analysis, RecordedRun, Result
from ontogeny.statistics import autocorrelation
from ontogeny.statistics.autocorrelation import SeriesEstimate
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.estimates import shortage
from ontogeny.statistics.intervals import DRAWS, percentile_interval

LEAST = 8
"""Batches."""
LEAST_AGES = 4
"""Bins of ages that a curve is fitted to."""
MARGIN = 2.0
"""Difference of AICc below which two curves fit alike."""
UNFIT = 0.001
"""A curve with a chi-squared less likely than that does not fit."""


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


@dataclass(frozen=True, kw_only=True)
class RetentionCurve:
    """Share of a batch's gain that is kept, by age in steps, in A bins of doubling width."""

    age: np.ndarray
    """float64 [A]: mean age."""
    value: np.ndarray
    """float64 [A]"""
    low: np.ndarray
    high: np.ndarray
    """float64 [A]: 95% interval; NaN in a bin with too few independent stretches."""
    n: np.ndarray
    """int64 [A]: batches."""
    draws: np.ndarray
    """float64 [A, draws]: bootstrap values."""
    ages: np.ndarray
    """float64 [A, 64]: quantiles of the ages."""

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """What is kept in the run."""
        return {"age": self.age, "value": self.value, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class _Bin:
    """One bin of ages, from B batches."""

    ages: np.ndarray
    """int64 [n]: of every batch and checkpoint in it."""
    inside: np.ndarray
    """bool [B]: has the batch a checkpoint at such an age?"""
    kept: np.ndarray
    """float64 [B]: mean gain that is kept at such an age."""
    value: float
    stretches: float

    @property
    def sure(self) -> bool:
        """Has it independent stretches enough for an interval?"""
        return not autocorrelation.lacks(self.stretches)


def retained(batches: TrainedBatches, random: np.random.Generator) -> RetentionCurve:
    """The retention curve, with a bootstrap of blocks of neighbours in training.

    Blocks are twice as long as the longest autocorrelation time of what a batch kept beyond its bin's share, lines on
    its place and its age subtracted; bins with too few independent stretches do not count for the length.
    """
    given = batches.nll[0] - batches.after[-1]
    if batches.novel is not None:
        novel_after = np.interp(batches.trained_at + 1, batches.step, batches.novel)
        given = given - (batches.novel[0] - novel_after)
    bins = list(_bins(batches, given))
    times = [part.inside.sum() / part.stretches for part in bins if part.sure]
    length = autocorrelation.block_length(batches.count, batches.count / max(times, default=1.0))
    weights = autocorrelation.block_weights(batches.count, length, random, DRAWS) / batches.count
    draws = np.array([_share(part, given, weights) for part in bins]).reshape(len(bins), DRAWS)
    ends = [
        percentile_interval(drawn) if part.sure else (np.nan, np.nan) for part, drawn in zip(bins, draws, strict=True)
    ]
    middles = (np.arange(64) + 0.5) / 64
    return RetentionCurve(
        age=np.array([part.ages.mean() for part in bins]),
        value=np.array([part.value for part in bins]),
        low=np.array([low for low, _ in ends]),
        high=np.array([high for _, high in ends]),
        n=np.array([part.inside.sum() for part in bins]),
        draws=draws,
        ages=np.array([np.quantile(part.ages, middles) for part in bins]),
    )


def _bins(batches: TrainedBatches, given: np.ndarray) -> Iterator[_Bin]:
    """Bins with enough batches that gained something together. Only checkpoints at or after a batch's step count."""
    age = batches.step[:, None] - (batches.trained_at[None] + 1)
    kept = batches.nll[:1] - batches.nll
    if batches.novel is not None:
        kept = kept - (batches.novel[0] - batches.novel)[:, None]
    for low, high in pairwise([0, 1, *(2 ** np.arange(1, 40))]):
        at_age = (age >= low) & (age < high)
        inside, looks = at_age.any(axis=0), np.maximum(at_age.sum(axis=0), 1)
        if inside.sum() < LEAST or given[inside].sum() <= 0:
            continue
        mean_kept = np.where(at_age, kept, 0).sum(axis=0) / looks
        mean_age = (np.where(at_age, age, 0).sum(axis=0) / looks)[inside]
        value = float(mean_kept[inside].sum() / given[inside].sum())
        beyond = (mean_kept - value * given)[inside]
        design = np.column_stack([autocorrelation.line_design(len(beyond)), mean_age - mean_age.mean()])
        stretches = autocorrelation.independent_stretches(beyond, design)
        yield _Bin(ages=age[at_age], inside=inside, kept=mean_kept, value=value, stretches=stretches)


def _share(part: _Bin, given: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The share kept in each bootstrap sample: of weights [draws, B], float64 [draws]."""
    above, below = np.where(part.inside, part.kept, 0), np.where(part.inside, given, 0)
    return np.asarray((weights @ above) / np.maximum(weights @ below, 1e-12))


def _flat(age: np.ndarray, a: float) -> np.ndarray:
    return np.full_like(age, a)


def _exponential(age: np.ndarray, tau: float) -> np.ndarray:
    return np.asarray(np.exp(-age / tau))


def _power(age: np.ndarray, k: float) -> np.ndarray:
    return np.asarray((1 + age) ** -k)


_CURVES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "flat": _flat,
    "exponential": _exponential,
    "power": _power,
}
_SYMBOL = {"flat": "a", "exponential": "tau_steps", "power": "k"}


def fit(curve: RetentionCurve, refits: int = 200) -> dict[str, Any]:
    """The simplest of the curves that fit: `name`, `parameter`, its `low` and `high`, the AICc of each, and `p` of fit.

    A curve is averaged over the ages in a bin, as the data are; bins without an interval are left out. *none*, if
    even the best has a chi-squared with p below 0.001.
    """
    from scipy.stats import chi2

    sure, bins = np.isfinite(curve.low), len(curve.age)
    if sure.sum() < LEAST_AGES:
        lack = shortage(LEAST_AGES, "age", bins, "train longer, or look more often")
        if bins >= LEAST_AGES:
            remedy = "let the ledger follow a larger share"
            lack = shortage(
                LEAST_AGES, "age", int(sure.sum()), remedy, "with independent batches enough for an interval"
            )
        return {"name": "not assessable", "lacks": lack}
    ages, draws = curve.ages[sure], curve.draws[sure]
    sigma = np.maximum(draws.std(axis=1, ddof=1), 1e-3)
    grids = {name: _Grid.of(name, ages) for name in _CURVES}
    fits = {name: _fitted(grids[name], curve.value[sure], sigma) for name in _CURVES}
    aicc = {name: fitted.aicc for name, fitted in fits.items()}
    best = min(aicc, key=lambda name: aicc[name])
    alike = [name for name in _CURVES if aicc[name] <= aicc[best] + MARGIN]
    name = "flat" if "flat" in alike else best
    low, high = percentile_interval(np.array([_fitted(grids[name], row, sigma).parameter for row in draws.T[:refits]]))
    p = float(chi2.sf(fits[name].chi2, len(sigma) - 1))
    return {
        "name": name if p >= UNFIT else "none",
        "best": name,
        "symbol": _SYMBOL[name],
        "p": p,
        "aicc": aicc,
        "parameter": fits[name].parameter,
        "low": float(low),
        "high": float(high),
        "alike": alike,
    }


@dataclass(frozen=True)
class _Fit:
    parameter: float
    aicc: float
    chi2: float


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Where the search for a curve's parameter begins: what it expects on a coarse grid, the same for all refits."""

    name: str
    ages: np.ndarray
    """float64 [bins, quantiles]"""
    coarse: np.ndarray
    """float64 [60]: the parameter; of tau and k, which are positive, the logarithm."""
    expected: np.ndarray
    """float64 [60, bins]"""

    @classmethod
    def of(cls, name: str, ages: np.ndarray) -> "_Grid":
        coarse = np.linspace(-5.0, 5.0, 60) if name == "flat" else np.linspace(-12.0, 16.0, 60)
        expected = np.array([_CURVES[name](ages, _natural(name, parameter)).mean(axis=1) for parameter in coarse])
        return cls(name=name, ages=ages, coarse=coarse, expected=expected)


def _natural(name: str, parameter: float) -> float:
    return float(parameter if name == "flat" else np.exp(parameter))


def _fitted(grid: _Grid, value: np.ndarray, sigma: np.ndarray) -> _Fit:
    """Weighted least squares of one parameter; `value` and `sigma` [bins]."""
    from scipy.optimize import minimize_scalar

    def chi2(parameter: float) -> float:
        expected = _CURVES[grid.name](grid.ages, _natural(grid.name, parameter)).mean(axis=1)
        return float((((value - expected) / sigma) ** 2).sum())

    start = grid.coarse[int(np.square((value - grid.expected) / sigma).sum(axis=1).argmin())]
    width = grid.coarse[1] - grid.coarse[0]
    best = minimize_scalar(chi2, bounds=(start - width, start + width), method="bounded")
    aicc = float(best.fun) + 2 + 4 / max(len(value) - 2, 1)
    return _Fit(parameter=_natural(grid.name, best.x), aicc=aicc, chi2=float(best.fun))


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
