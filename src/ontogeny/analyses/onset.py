"""When passages become memorized, what goes with it, and whether it can be told from the first checkpoint."""

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics import by_document as stats

LEAST = 10
"""Passages, and 3 of each outcome, below which nothing is claimed."""
FOLDS = 5


class Onset(PassageAnalysis):
    """The epoch at which each trained passage becomes memorized, known to lie between two checkpoints.

    Onset is the first checkpoint from which on it is memorized to the end: interval-censored by the checkpoint before;
    left-censored if it was memorized before training; right-censored if never, or no more at the end. `curve`: the
    share memorized by each epoch, by Turnbull's self-consistent estimator (1976). Its relation to what was known at
    checkpoint 0 (compression per layer, NLL) and to length and number of copies: `concordance`, the share of
    comparable pairs (one's onset surely before the other's) in which the higher value comes later (0.5 is none, ties
    count half), with p by permuting the values, adjusted over the covariates (Benjamini and Hochberg).
    `prediction`: of memorized by the end, from the first checkpoint after training began: area under the ROC curve of
    compression (all layers), of length and NLL, and of all, by logistic regression cross-validated over documents,
    with a document bootstrap of the area and of the difference.
    """

    permutations: int = Field(default=2000, ge=99)
    """Of a covariate, for its p."""

    def analyze(self, run: RecordedRun) -> Result:
        """Estimate the curve, and test what goes with it."""
        return self.estimate(self.passages(run))

    def estimate(self, table: Passages) -> Result:
        """The same, from passages laid side by side."""
        random = np.random.default_rng(self.seed)
        kept = table.trained & np.isfinite(table.memorized).all(axis=0)
        if not kept.any():
            lack = "not assessable: lacks trained passages that are long enough"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers={})
        low, high = intervals(table.epoch, table.memorized[:, kept] > 0.5)
        times, curve = turnbull(low, high)
        covariates = {
            "NLL at checkpoint 0": table.nll[0, kept],
            "length": table.length[kept].astype(float),
            "copies": table.copies[kept].astype(float),
            **{f"compression at block {b}, checkpoint 0": table.score[0, i, kept] for i, b in enumerate(table.layer)},
        }
        related = self._relations(low, high, {k: v for k, v in covariates.items() if np.ptp(v) > 0}, random)
        predicted = self._prediction(table, kept, random)
        counts = {"left": int(np.isneginf(low).sum()), "right": int(np.isposinf(high).sum()), "n": int(kept.sum())}
        numbers = {
            "times": times,
            "curve": curve,
            "low": low,
            "high": high,
            "passage": table.name[kept],
            "censored": counts,
            "relations": related,
            "prediction": predicted,
        }
        return Result(
            verdict=_verdict(counts, related),
            sentences=tuple(_sentences(counts, related, predicted)),
            reading=_READING,
            numbers=numbers,
        )

    def _relations(
        self, low: np.ndarray, high: np.ndarray, covariates: dict[str, np.ndarray], random: np.random.Generator
    ) -> dict[str, dict[str, float]]:
        earlier = comparable(low, high)
        pairs = int(earlier.sum())
        if pairs < LEAST or not covariates:
            return {}
        found = {}
        for name, values in covariates.items():
            observed = concordance(earlier, values)
            drawn = np.array([concordance(earlier, random.permutation(values)) for _ in range(self.permutations)])
            p = (1 + (np.abs(drawn - 0.5) >= abs(observed - 0.5) - 1e-12).sum()) / (1 + self.permutations)
            found[name] = {"concordance": observed, "p": float(p), "pairs": pairs}
        adjusted = stats.benjamini_hochberg(np.array([one["p"] for one in found.values()]))
        return {name: {**one, "p_adjusted": float(p)} for (name, one), p in zip(found.items(), adjusted, strict=True)}

    def _prediction(self, table: Passages, kept: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
        outcome = table.memorized[-1, kept] > 0.5
        if min(outcome.sum(), (~outcome).sum()) < 3 or len(outcome) < LEAST or len(table.step) < 3:
            return {
                "lacks": f"{LEAST} passages and 3 of each outcome: it has {outcome.sum()} memorized of {len(outcome)}"
            }
        document = table.document[kept]
        simple = np.stack([table.length[kept], table.nll[1, kept]], axis=1)
        layers = table.score[1][:, kept].T
        features = {"length and NLL": simple, "compression": layers, "all": np.concatenate([simple, layers], axis=1)}
        scores = {name: _cross_validated(x, outcome, document, random) for name, x in features.items()}
        areas: dict[str, Any] = {}
        ids = np.unique(document)
        members = [np.flatnonzero(document == one) for one in ids]

        def of(name: str, drawn: np.ndarray) -> float:
            rows = np.concatenate([members[i] for i in drawn])
            return auroc(scores[name][rows], outcome[rows])

        for name, score in scores.items():
            low, high = stats.bootstrap(len(ids), partial(of, name), random, 1000)
            areas[name] = {"auroc": auroc(score, outcome), "low": low, "high": high}
        low, high = stats.bootstrap(len(ids), lambda d: of("all", d) - of("length and NLL", d), random, 1000)
        gain = areas["all"]["auroc"] - areas["length and NLL"]["auroc"]
        return {
            "areas": areas,
            "gain": gain,
            "gain_low": low,
            "gain_high": high,
            "epoch": float(table.epoch[1]),
            "n": len(outcome),
            "memorized": int(outcome.sum()),
        }


def intervals(epoch: np.ndarray, memorized: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(low, high] that holds each passage's onset: -inf below if it was memorized from the first checkpoint on, inf
    above if it is not at the last. `memorized` bool [C, P].
    """
    stays = np.logical_and.accumulate(memorized[::-1], axis=0)[::-1]
    first = np.where(stays.any(axis=0), stays.argmax(axis=0), len(epoch))
    edges = np.concatenate([[-np.inf], epoch, [np.inf]])
    return edges[first], edges[first + 1]


def turnbull(low: np.ndarray, high: np.ndarray, tolerance: float = 1e-9) -> tuple[np.ndarray, np.ndarray]:
    """Self-consistent estimate of the distribution of times that lie in (low, high]: right ends, share by then.

    Mass can lie only in the innermost intervals, those from a `low` to the next `high` without another between; it is
    moved by expectation and maximisation until no mass changes by more than `tolerance`.
    """
    ends = sorted({(value, 0) for value in low} | {(value, -1) for value in high})  # at a tie, high comes first
    inner = [(left, right) for (left, kind), (right, next_kind) in pairwise(ends) if kind == 0 and next_kind == -1]
    lefts, rights = np.array([one[0] for one in inner]), np.array([one[1] for one in inner])
    inside = (lefts[None] >= low[:, None]) & (rights[None] <= high[:, None])
    mass = np.full(len(inner), 1 / len(inner))
    for _ in range(10_000):
        weights = inside * mass
        new = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(new - mass).max() < tolerance:
            mass = new
            break
        mass = new
    return rights, np.cumsum(mass)


def comparable(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """bool [P, P]: is the row's onset surely not after the column's (its interval ends where the other's begins)?"""
    found: np.ndarray = high[:, None] <= low[None]
    return found & np.isfinite(high)[:, None]


def concordance(earlier: np.ndarray, values: np.ndarray) -> float:
    """Share of comparable pairs in which the later one has the higher value; ties count half."""
    rows, columns = np.nonzero(earlier)
    return float((np.sign(values[columns] - values[rows]) + 1).mean() / 2) if len(rows) else float("nan")


def auroc(scores: np.ndarray, outcome: np.ndarray) -> float:
    """Chance that a positive has a higher score than a negative, ties half (Mann and Whitney); NaN without both."""
    from scipy.stats import rankdata

    n, m = int(outcome.sum()), int((~outcome).sum())
    if not n or not m:
        return float("nan")
    return float((rankdata(scores)[outcome].sum() - n * (n + 1) / 2) / (n * m))


@dataclass(frozen=True)
class _Logistic:
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def score(self, x: np.ndarray) -> np.ndarray:
        return np.asarray((x - self.mean) / self.scale @ self.weights[1:] + self.weights[0])


def _fit(x: np.ndarray, outcome: np.ndarray, penalty: float = 1.0) -> _Logistic:
    """Logistic regression on standardised columns, ridge penalty on all but the intercept."""
    from scipy.optimize import minimize
    from scipy.special import expit

    mean, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    design = np.concatenate([np.ones((len(x), 1)), (x - mean) / scale], axis=1)
    sign = np.where(outcome, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (design @ weights)
        value = float(np.logaddexp(0, -margin).sum() + penalty / 2 * (weights[1:] ** 2).sum())
        gradient = -(design.T @ (sign * expit(-margin)))
        gradient[1:] += penalty * weights[1:]
        return value, gradient

    found = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B")
    return _Logistic(mean, scale, found.x)


def _cross_validated(
    x: np.ndarray, outcome: np.ndarray, document: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Each passage's score by a fit that has not seen its document."""
    ids = random.permutation(np.unique(document))
    fold = {int(one): i % min(FOLDS, len(ids)) for i, one in enumerate(ids)}
    folds = np.array([fold[int(one)] for one in document])
    scores = np.zeros(len(x))
    for i in np.unique(folds):
        mine = folds == i
        if len(np.unique(outcome[~mine])) == 2:
            fitted = _fit(x[~mine], outcome[~mine])
            train = fitted.score(x[~mine])
            scores[mine] = (fitted.score(x[mine]) - train.mean()) / max(float(train.std()), 1e-12)
    return scores


def _verdict(counts: dict[str, int], related: dict[str, dict[str, float]]) -> str:
    if counts["right"] == counts["n"]:
        return f"none of {counts['n']} passages became memorized: nothing can be said about onset"
    if not related:
        return "no two onsets can be told apart, so nothing can be said of what goes with them: look more often"
    found = [name for name, one in related.items() if one["p_adjusted"] < 0.05]
    return f"onset goes with {', '.join(found)}" if found else "onset goes with nothing that was known at checkpoint 0"


def _sentences(counts: dict[str, int], related: dict[str, dict[str, float]], predicted: dict[str, Any]) -> list[str]:
    lines = [
        f"of {counts['n']} trained passages {counts['n'] - counts['right']} became memorized and stayed so "
        f"({counts['left']} were so before training); {counts['right']} did not"
    ]
    for name, one in related.items():
        way = "later" if one["concordance"] > 0.5 else "earlier"
        lines.append(
            f"higher {name}: {way} onset, concordance {one['concordance']:.2f} over {one['pairs']:.0f} pairs, p = "
            f"{one['p_adjusted']:.4f} adjusted over {len(related)}"
        )
    if "lacks" in predicted:
        return [*lines, f"prediction of who is memorized by the end: not assessable, lacks {predicted['lacks']}"]
    for name, one in predicted["areas"].items():
        lines.append(
            f"predicted at epoch {predicted['epoch']:g} from {name}: AUROC {one['auroc']:.2f}, 95% {one['low']:.2f} to "
            f"{one['high']:.2f} (n = {predicted['n']}, {predicted['memorized']} memorized)"
        )
    return [
        *lines,
        f"compression beyond length and NLL: {predicted['gain']:+.2f} AUROC, 95% {predicted['gain_low']:+.2f} to "
        f"{predicted['gain_high']:+.2f}",
    ]


_READING = (
    "An onset is known only up to the checkpoints around it, so two passages can be ordered only if their intervals do "
    "not overlap. A concordance of 0.5 says nothing; 0.7 says that in 7 of 10 pairs the higher value came later. Pairs "
    "share passages, which the permutation accounts for and a count of pairs would not. Passages of one document are "
    "kept together in folds and bootstrap samples."
)
