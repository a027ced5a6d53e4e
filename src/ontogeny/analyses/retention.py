"""How much of what a batch taught is kept, for how long, and does its place in training matter?"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ontogeny.analyses import _statistics as stats
from ontogeny.analyses._ledger import Book, book_of
from ontogeny.analyses._result import Analysis, Result

if TYPE_CHECKING:
    from ontogeny.store.run import Run

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
    what the loss of never-trained passages of the same corpora did in the same time. Means over batches with a 95%
    percentile bootstrap over batches.

    Retained at an age (steps since the batch's step, in doubling bins): the mean of (loss before training - loss now)
    over the mean of (loss before training - loss just after), both net where novel text was looked at. To the curve are
    fitted: flat, a; exponential, exp(-age / tau); power, (1 + age)^-k; by least squares weighted with the bootstrap's
    variance, compared by AICc. The simplest one within 2 of the best is named, unless it does not fit (chi-squared);
    parameters with bootstrap intervals.

    Recency and primacy at the last checkpoint: the gain of the last and of the first third of the batches against the
    middle third, by permutation of places, adjusted by Benjamini and Hochberg. Repeats: the loss at the end minus the
    loss just after each repeat.
    """

    reference: Literal["against_before", "against_after"] = "against_after"
    """Which one the verdict speaks of."""

    def analyze(self, run: "Run") -> Result:
        """Read the ledger and judge."""
        return self.judge(book_of(run))

    def judge(self, book: Book) -> Result:
        """The same, from a ledger laid side by side."""
        if book.batches < LEAST:
            lack = f"not assessable: lacks {LEAST} sampled batches, it has {book.batches}"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers={"n": book.batches})
        random = np.random.default_rng(self.seed)
        draws = random.multinomial(book.batches, np.full(book.batches, 1 / book.batches), stats.DRAWS) / book.batches
        ends = {name: _mean(values, draws) for name, values in _at_the_end(book).items()}
        curve = retained(book, draws)
        fitted = fit(curve)
        places = self._places(book, random)
        repeats = [_mean(book.nll[-1] - after, draws) for after in book.after] if len(book.after) > 1 else []
        numbers = {
            "n": book.batches, "step": book.step, "trained_at": book.trained_at, "epochs": book.epochs, "ends": ends,
            "curve": {key: values for key, values in curve.items() if key not in ("draws", "ages")}, "fit": fitted,
            "places": places, "repeats": repeats,
        }  # fmt: skip
        return Result(verdict=_verdict(ends[self.reference], self.reference), reading=_READING, numbers=numbers,
                      sentences=tuple(_sentences(book, numbers)))  # fmt: skip

    @staticmethod
    def _places(book: Book, random: np.random.Generator) -> dict[str, dict[str, float]]:
        """Gain of the first and last third against the middle third."""
        gain = book.nll[0] - book.nll[-1]
        third = np.array_split(np.argsort(book.trained_at, kind="stable"), 3)

        def apart(values: np.ndarray) -> tuple[float, float]:
            first, middle, last = (values[one].mean() for one in third)
            return first - middle, last - middle

        found = apart(gain)
        drawn = np.array([apart(random.permutation(gain)) for _ in range(stats.DRAWS)])
        p = [(1 + (np.abs(drawn[:, i]) >= abs(found[i]) - 1e-12).sum()) / (1 + stats.DRAWS) for i in range(2)]
        adjusted = stats.benjamini_hochberg(np.array(p))
        return {
            name: {"value": float(found[i]), "p": float(adjusted[i])} for i, name in enumerate(("primacy", "recency"))
        }


def _at_the_end(book: Book) -> dict[str, np.ndarray]:
    """Signed changes of each batch's loss up to the last checkpoint, by reference."""
    found = {"against_before": book.nll[-1] - book.nll[0], "against_after": book.nll[-1] - book.after[-1]}
    if book.novel is not None:
        then = np.interp(book.trained_at + 1, book.step, book.novel)
        found["against_before, net"] = found["against_before"] - (book.novel[-1] - book.novel[0])
        found["against_after, net"] = found["against_after"] - (book.novel[-1] - then)
    return found


def _mean(values: np.ndarray, draws: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(draws @ values, [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def retained(book: Book, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Share of a batch's gain that is kept, by age in steps: `age`, `value`, `low`, `high`, `n`, `draws` of each bin.

    Bins double. `draws` are bootstrap weights [samples, batches]. `age` is the mean age in a bin, `n` its batches,
    `ages` up to 64 quantiles of the ages in it. Only checkpoints at or after the batch's own step count.
    """
    age = book.step[:, None] - (book.trained_at[None] + 1)
    kept, given = book.nll[:1] - book.nll, book.nll[0] - book.after[-1]
    if book.novel is not None:
        kept = kept - (book.novel[0] - book.novel)[:, None]
        given = given - (book.novel[0] - np.interp(book.trained_at + 1, book.step, book.novel))
    edges = [0, 1, *(2 ** np.arange(1, 40))]
    rows: dict[str, list[Any]] = {key: [] for key in ("age", "value", "low", "high", "n", "draws", "ages")}
    for low, high in pairwise(edges):
        inside = (age >= low) & (age < high)
        of_batch = inside.any(axis=0)
        total = given[of_batch].sum()
        if of_batch.sum() < LEAST or total <= 0:
            continue
        mine = np.where(inside, kept, 0).sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
        drawn = (draws @ np.where(of_batch, mine, 0)) / np.maximum(draws @ np.where(of_batch, given, 0), 1e-12)
        rows["age"].append(float(age[inside].mean()))
        rows["value"].append(float(mine[of_batch].sum() / total))
        rows["low"].append(float(np.quantile(drawn, 0.025)))
        rows["high"].append(float(np.quantile(drawn, 0.975)))
        rows["n"].append(int(of_batch.sum()))
        rows["draws"].append(drawn)
        rows["ages"].append(np.quantile(age[inside], (np.arange(64) + 0.5) / 64))
    return {key: np.array(values) for key, values in rows.items()}


_CURVES: dict[str, Any] = {
    "flat": np.full_like,
    "exponential": lambda age, tau: np.exp(-age / tau),
    "power": lambda age, k: (1 + age) ** -k,
}
_SYMBOL = {"flat": "a", "exponential": "tau_steps", "power": "k"}


def fit(curve: dict[str, np.ndarray], refits: int = 200) -> dict[str, Any]:
    """The simplest of the curves that fit: `name`, `parameter`, its `low` and `high`, the AICc of each, and `p` of fit.

    A curve is averaged over the ages in a bin, as the data are. *none*, if even the best has a chi-squared with p below
    0.001.
    """
    from scipy.stats import chi2

    if len(curve["age"]) < 4:
        return {"name": "not assessable", "lacks": f"4 ages, it has {len(curve['age'])}"}
    sigma = np.maximum(curve["draws"].std(axis=1, ddof=1), 1e-3)
    found = {name: _fitted(name, curve["ages"], curve["value"], sigma) for name in _CURVES}
    aicc = {name: one["aicc"] for name, one in found.items()}
    best = min(aicc, key=lambda name: aicc[name])
    alike = [name for name in _CURVES if aicc[name] <= aicc[best] + MARGIN]
    name = "flat" if "flat" in alike else best
    again = [_fitted(name, curve["ages"], drawn, sigma)["parameter"] for drawn in curve["draws"].T[:refits]]
    low, high = np.quantile(again, [0.025, 0.975])
    p = float(chi2.sf(found[name]["chi2"], len(sigma) - 1))
    return {"name": name if p >= UNFIT else "none", "best": name, "symbol": _SYMBOL[name], "p": p, "aicc": aicc,
            "parameter": found[name]["parameter"], "low": float(low), "high": float(high), "alike": alike}  # fmt: skip


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


def _verdict(end: dict[str, float], reference: str) -> str:
    what = "before training" if reference == "against_before" else "just after their step"
    by = f"{end['value']:+.3f} nats (95% {end['low']:+.3f} to {end['high']:+.3f})"
    if end["low"] > 0:
        return f"trained batches have a higher loss at the end than {what}: {by}"
    if end["high"] < 0:
        return f"trained batches have a lower loss at the end than {what}: {by}"
    return f"the loss of trained batches at the end does not differ from that {what}: {by}"


def _sentences(book: Book, numbers: dict[str, Any]) -> list[str]:
    words = {"against_before": "since before training", "against_after": "since just after their step"}
    lines = []
    for name, one in numbers["ends"].items():
        base, _, net = name.partition(", ")
        lines.append(
            f"{words[base]}{', net of novel text' if net else ''}: {one['value']:+.3f} nats, 95% {one['low']:+.3f} to "
            f"{one['high']:+.3f} (n = {book.batches} batches)"
        )
    curve, fitted = numbers["curve"], numbers["fit"]
    if len(curve["age"]):
        net = " beyond novel text" if book.novel is not None else ""
        lines.append(
            f"retained of what was gained{net} by a batch's own step: {curve['value'][0]:.0%} after "
            f"{curve['age'][0]:.0f} steps, {curve['value'][-1]:.0%} (95% {curve['low'][-1]:.0%} to "
            f"{curve['high'][-1]:.0%}) after {curve['age'][-1]:,.0f}"
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
        lines.append(
            f"{name}: the {third} third gained {one['value']:+.3f} nats beside the middle third, p = {one['p']:.4f} "
            "adjusted over 2"
        )
    for i, one in enumerate(numbers["repeats"]):
        lines.append(
            f"repeat {i + 1}: at the end {one['value']:+.3f} nats from just after it (95% {one['low']:+.3f} to "
            f"{one['high']:+.3f})"
        )
    if book.epochs > 1.01:
        lines.append(f"{book.epochs:.1f} epochs: the same passages came again in other batches, which hides forgetting")
    return lines


_READING = (
    "A loss may fall because a batch is remembered, or because all text of its kind got easier: `net` takes the second "
    "off. Against before training, the sign says whether anything is left; against just after, how much went. Batches "
    "that are near in training share what happened then, so their intervals speak of this run. A batch's gain at its "
    "step holds what all batches before it taught, too."
)
