"""When passages become memorized, what goes with it, and whether the first checkpoint predicts it."""

from functools import partial
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ontogeny.analyses.recorded.passages import PassageAnalysis, Passages
from ontogeny.core.analyses import RecordedRun, Result
from ontogeny.statistics.corrections import benjamini_hochberg
from ontogeny.statistics.interval_censored import censoring_intervals, comparable, concordance, turnbull
from ontogeny.statistics.intervals import bootstrap
from ontogeny.statistics.permutations import permutation_p
from ontogeny.statistics.prediction import auroc, cross_validated_scores

LEAST = 10
"""Passages, and 3 of each outcome, below which nothing is claimed."""

Relations = dict[str, dict[str, float]]
"""By covariate: concordance, pairs, p and adjusted p."""


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

    order: ClassVar[float] = 30

    permutations: int = Field(default=2000, ge=99)
    """Of a covariate, for its p."""

    def analyze(self, run: RecordedRun) -> Result:
        """Estimate the curve, and test what goes with it."""
        return self.estimate(self.passages(run))

    def estimate(self, table: Passages) -> Result:
        """The same, from a table of passages."""
        random = np.random.default_rng(self.seed)
        kept = table.trained & np.isfinite(table.memorized).all(axis=0)
        if not kept.any():
            lack = "not assessable: lacks trained passages that are long enough"
            return Result(verdict=lack, sentences=(), reading=_READING, numbers={})
        low, high = censoring_intervals(table.epoch, table.memorized[:, kept] > 0.5)
        times, curve = turnbull(low, high)
        covariates = {
            "NLL at checkpoint 0": table.nll[0, kept],
            "length": table.length[kept].astype(float),
            "copies": table.copies[kept].astype(float),
            **{f"compression at block {b}, checkpoint 0": table.score[0, i, kept] for i, b in enumerate(table.layer)},
        }
        varying = {name: values for name, values in covariates.items() if np.ptp(values) > 0}
        relations = self._relations(low, high, varying, random)
        prediction = _prediction(table, kept, random)
        counts = {"left": int(np.isneginf(low).sum()), "right": int(np.isposinf(high).sum()), "n": int(kept.sum())}
        numbers = {
            "times": times,
            "curve": curve,
            "low": low,
            "high": high,
            "passage": table.name[kept],
            "censored": counts,
            "relations": relations,
            "prediction": prediction,
        }
        verdict, sentences = _verdict(counts, relations), _sentences(counts, relations, prediction)
        return Result(verdict=verdict, sentences=tuple(sentences), reading=_READING, numbers=numbers)

    def _relations(
        self, low: np.ndarray, high: np.ndarray, covariates: dict[str, np.ndarray], random: np.random.Generator
    ) -> Relations:
        earlier = comparable(low, high)
        pairs = int(earlier.sum())
        if pairs < LEAST or not covariates:
            return {}
        relations: Relations = {}
        for name, values in covariates.items():
            observed = concordance(earlier, values)
            drawn = np.array([concordance(earlier, random.permutation(values)) for _ in range(self.permutations)])
            p = permutation_p(abs(observed - 0.5), np.abs(drawn - 0.5))
            relations[name] = {"concordance": observed, "p": float(p), "pairs": pairs}
        adjusted = benjamini_hochberg(np.array([relation["p"] for relation in relations.values()]))
        for relation, p in zip(relations.values(), adjusted, strict=True):
            relation["p_adjusted"] = float(p)
        return relations


def _prediction(table: Passages, kept: np.ndarray, random: np.random.Generator) -> dict[str, Any]:
    """How well the first checkpoint after training began predicts memorization by the end, or what it `lacks`."""
    outcome = table.memorized[-1, kept] > 0.5
    if min(outcome.sum(), (~outcome).sum()) < 3 or len(outcome) < LEAST or len(table.step) < 3:
        return {"lacks": f"{LEAST} passages and 3 of each outcome: it has {outcome.sum()} memorized of {len(outcome)}"}
    document = table.document[kept]
    simple = np.stack([table.length[kept], table.nll[1, kept]], axis=1)
    layers = table.score[1][:, kept].T
    features = {"length and NLL": simple, "compression": layers, "all": np.concatenate([simple, layers], axis=1)}
    scores = {name: cross_validated_scores(x, outcome, document, random) for name, x in features.items()}
    members = [np.flatnonzero(document == name) for name in np.unique(document)]

    def area(name: str, drawn: np.ndarray) -> float:
        rows = np.concatenate([members[i] for i in drawn])
        return auroc(scores[name][rows], outcome[rows])

    def beyond(drawn: np.ndarray) -> float:
        return area("all", drawn) - area("length and NLL", drawn)

    areas = {}
    for name, score in scores.items():
        low, high = bootstrap(len(members), partial(area, name), random, 1000)
        areas[name] = {"auroc": auroc(score, outcome), "low": low, "high": high}
    low, high = bootstrap(len(members), beyond, random, 1000)
    return {
        "areas": areas,
        "gain": areas["all"]["auroc"] - areas["length and NLL"]["auroc"],
        "gain_low": low,
        "gain_high": high,
        "epoch": float(table.epoch[1]),
        "n": len(outcome),
        "memorized": int(outcome.sum()),
    }


def _verdict(counts: dict[str, int], relations: Relations) -> str:
    if counts["right"] == counts["n"]:
        return f"none of {counts['n']} passages became memorized: nothing can be said about onset"
    if not relations:
        return "no two onsets can be told apart, so nothing can be said of what goes with them: look more often"
    sure = [name for name, relation in relations.items() if relation["p_adjusted"] < 0.05]
    return f"onset goes with {', '.join(sure)}" if sure else "onset goes with nothing that was known at checkpoint 0"


def _sentences(counts: dict[str, int], relations: Relations, prediction: dict[str, Any]) -> list[str]:
    lines = [
        f"of {counts['n']} trained passages {counts['n'] - counts['right']} became memorized and stayed so "
        f"({counts['left']} were so before training); {counts['right']} did not"
    ]
    for name, relation in relations.items():
        way = "later" if relation["concordance"] > 0.5 else "earlier"
        lines.append(
            f"higher {name}: {way} onset, concordance {relation['concordance']:.2f} over {relation['pairs']:.0f} "
            f"pairs, p = {relation['p_adjusted']:.4f} adjusted over {len(relations)}"
        )
    if "lacks" in prediction:
        return [*lines, f"prediction of who is memorized by the end: not assessable, lacks {prediction['lacks']}"]
    passages = f"n = {prediction['n']}, {prediction['memorized']} memorized"
    for name, area in prediction["areas"].items():
        lines.append(
            f"predicted at epoch {prediction['epoch']:g} from {name}: AUROC {area['auroc']:.2f}, 95% {area['low']:.2f} "
            f"to {area['high']:.2f} ({passages})"
        )
    lines.append(
        f"compression beyond length and NLL: {prediction['gain']:+.2f} AUROC, 95% {prediction['gain_low']:+.2f} to "
        f"{prediction['gain_high']:+.2f}"
    )
    return lines


_READING = (
    "An onset is known only up to the checkpoints around it, so two passages can be ordered only if their intervals do "
    "not overlap. A concordance of 0.5 says nothing; 0.7 says that in 7 of 10 pairs the higher value came later. Pairs "
    "share passages, which the permutation accounts for and a count of pairs would not. Passages of one document are "
    "kept together in folds and bootstrap samples."
)
